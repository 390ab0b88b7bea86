"""What a caller has to change, raised where it is noticed and answered in one place."""

from __future__ import annotations


class BadRequest(Exception):  # noqa: N818 - named for what is the case
    """The caller has to change something."""

    def __init__(self, reason: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
