"""The reference of `accepted_ratio`: FastAPI with an empty route, and nothing else."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/api/v1/app/{app_id}/msg", status_code=202)
async def accept() -> None:
    """Does nothing."""
