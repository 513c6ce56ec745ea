"""The reference of `accepted_ratio`: FastAPI with an empty route, and nothing else."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/api/v1/app/{app_id}/msg", status_code=202)  # noqa: FAST003 an empty route takes nothing
async def accept() -> None:
    """Does nothing."""
