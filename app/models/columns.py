"""Column shapes that tables share."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Integer, LargeBinary, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import mapped_column

Id = Annotated[UUID, mapped_column(primary_key=True)]
Tenant = Annotated[UUID, mapped_column(ForeignKey("environments.id"), primary_key=True)]
PartTenant = Annotated[UUID, mapped_column(primary_key=True)]
"""The tenant in a table that is partitioned or hot, where a foreign key would cost a look-up a row."""
OrganisationId = Annotated[UUID, mapped_column(ForeignKey("organisations.id"), primary_key=True)]
"""The owner of what all environments of an organisation share."""
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Updated = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now(), onupdate=func.now())]
BigCount = Annotated[int, mapped_column(BigInteger)]
String = Annotated[str, mapped_column(Text)]
Strings = Annotated[list[str], mapped_column(ARRAY(Text))]
Networks = Annotated[list[str], mapped_column(ARRAY(Text), server_default="{}")]
Version = Annotated[int, mapped_column(server_default="1")]
"""Rises with every change by a caller, who may ask that nobody else has changed the row."""
Integers = Annotated[list[int], mapped_column(ARRAY(Integer))]
Ids = Annotated[list[UUID], mapped_column(ARRAY(Uuid))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]
JsonList = Annotated[list[str], mapped_column(JSONB)]
Bytes = Annotated[bytes, mapped_column(LargeBinary)]
