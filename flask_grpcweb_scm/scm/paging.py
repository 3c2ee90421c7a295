"""Keyset pages: a token says after which row the next page begins, and which list it is a page of."""

from __future__ import annotations

from dataclasses import dataclass

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.scm.settings import ScmSettings
from flask_grpcweb_scm.scm.validation import invalid_argument, validate

__all__ = ["PageScope", "Position", "page_size", "read_page_token", "write_page_token"]

PageScope = list[str | int]
"""Everything but the position that decides which rows are listed, and in which order."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page, in the order (name, id)."""

    name: str
    id: int


def page_size(requested: int, settings: ScmSettings) -> int:
    """How many rows a page has.

    :raises RpcError: INVALID_ARGUMENT, for a negative number.
    """
    validate(page_size=f"must be 0 or more, got {requested}" if requested < 0 else None)
    return min(requested or settings.page_size, settings.max_page_size)


def write_page_token(scope: PageScope, after: Position, settings: ScmSettings) -> str:
    """A token for the rows that come after a position."""
    token = _serializer(settings).dumps([scope, after.name, after.id])
    return token if isinstance(token, str) else token.decode("ascii")


def read_page_token(token: str, scope: PageScope, settings: ScmSettings) -> Position | None:
    """Where the page begins; None for the first page, whose token is empty.

    :raises RpcError: INVALID_ARGUMENT, for a token that is damaged, expired, or of another list.
    """
    if not token:
        return None
    try:
        issued_for, name, row_id = _serializer(settings).loads(token, max_age=int(settings.page_token_max_age))
    except SignatureExpired:
        raise _refusal("expired") from None
    except BadData:
        raise _refusal("not one of this server") from None
    if issued_for != scope:
        raise _refusal("of another organization, provider or query")
    return Position(name, row_id)


def _serializer(settings: ScmSettings) -> URLSafeTimedSerializer:
    # itsdangerous signs with the last of its keys.
    return URLSafeTimedSerializer(list(reversed(settings.page_token_secrets)), salt="flask_grpcweb_scm.scm.page_token")


def _refusal(reason: str) -> RpcError:
    return invalid_argument({"page_token": f"is {reason}; ask for the first page again, without one"})
