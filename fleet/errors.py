"""Errors that only the fleet server knows.

Owns: the refusals of the operator's interface. Everything else is in `models.errors`.
Must not know: HTTP status codes; `fleet.api` gives each error one.
"""

from models.errors import NotNowError, RefusedError


class UnauthorisedError(RefusedError):
    """The request changes something and carries no operator token, or a wrong one."""

    code = "unauthorised"


class StoreError(NotNowError):
    """The database is full, locked or gone; nothing was acknowledged."""

    code = "store"
