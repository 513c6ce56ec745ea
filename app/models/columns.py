"""Column shapes that tables share."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Integer, LargeBinary, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import mapped_column

Id = Annotated[UUID, mapped_column(primary_key=True)]
Tenant = Annotated[UUID, mapped_column(ForeignKey("organisations.id"), primary_key=True)]
PartTenant = Annotated[UUID, mapped_column(primary_key=True)]
"""The tenant in a table that is partitioned or hot, where a foreign key would cost a look-up a row."""
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Updated = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now(), onupdate=func.now())]
BigCount = Annotated[int, mapped_column(BigInteger)]
String = Annotated[str, mapped_column(Text)]
Strings = Annotated[list[str], mapped_column(ARRAY(Text))]
Integers = Annotated[list[int], mapped_column(ARRAY(Integer))]
Ids = Annotated[list[UUID], mapped_column(ARRAY(Uuid))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]
JsonList = Annotated[list[str], mapped_column(JSONB)]
Bytes = Annotated[bytes, mapped_column(LargeBinary)]
