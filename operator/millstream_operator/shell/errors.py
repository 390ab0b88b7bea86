"""What can go wrong between the operator and the API server.

ApiError
├── ApiUnavailable   no answer in time, 429 or 5xx: later may be better
├── Forbidden        401, 403: our account may not do this (now)
├── NotFound         404
├── Conflict         409: somebody else was first; look afresh
└── Rejected         other 4xx: the API server does not take what we send
"""

from __future__ import annotations


class ApiError(Exception):
    """Root of all errors of the API client; `message` is the server's own."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ApiUnavailable(ApiError):  # noqa: N818 - states read better than a row of ...Error
    """No answer in time, or one that says to come again."""


class Forbidden(ApiError):  # noqa: N818
    """The operator's account may not do this."""


class NotFound(ApiError):  # noqa: N818
    """There is no such object, or no such kind."""


class Conflict(ApiError):  # noqa: N818
    """The object changed since it was read, or is another one."""


class Rejected(ApiError):  # noqa: N818
    """The API server refuses the object as sent."""


class NotLeading(ApiError):  # noqa: N818
    """Another operator may lead by now, so this one writes nothing."""


def error_of(status: int, message: str) -> ApiError:
    """The error for an HTTP status."""
    if status in {401, 403}:
        return Forbidden(message, status)
    if status == 404:
        return NotFound(message, status)
    if status == 409:
        return Conflict(message, status)
    if status == 429 or status >= 500:
        return ApiUnavailable(message, status)
    return Rejected(message, status)
