"""What gunicorn does before it forks the processes that serve, read by it as its configuration."""

from app.kit.interpreter import settle


def on_starting(_arbiter: object) -> None:
    """Imports the API once for all of them: they share its memory, and one that has died is there again at once."""
    import app.main  # noqa: F401, PLC0415  # gunicorn reads this file before it knows whether it is to serve

    settle()
