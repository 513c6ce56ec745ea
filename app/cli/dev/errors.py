"""What stops a development start."""


class DevError(Exception):
    """One line for whoever started it. `exit_code` is 2 for a wrong setting, 1 for everything else."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
