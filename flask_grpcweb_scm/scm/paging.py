"""Keyset pages: a token says after which row the next page begins, and which list it is a page of."""

from __future__ import annotations

import functools

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.scm.settings import ScmSettings
from flask_grpcweb_scm.scm.validation import invalid_argument, validate

__all__ = ["PageScope", "Position", "page_size", "read_page_token", "write_page_token"]

PageScope = list[str | int]
"""The RPC, and everything but the position that decides which rows it lists, and in which order."""

Position = tuple[str | int, ...]
"""The last row of a page, by the values that order the list; the last of them is unique."""


def page_size(requested: int, settings: ScmSettings) -> int:
    """How many rows a page has.

    :raises RpcError: INVALID_ARGUMENT, for a negative number.
    """
    validate(page_size=f"must be 0 or more, got {requested}" if requested < 0 else None)
    return min(requested or settings.page_size, settings.max_page_size)


def write_page_token(scope: PageScope, after: Position, settings: ScmSettings) -> str:
    """A token for the rows that come after a position."""
    token = _serializer(settings).dumps([scope, *after])
    return token if isinstance(token, str) else token.decode("ascii")


def read_page_token(token: str, scope: PageScope, settings: ScmSettings) -> Position | None:
    """Where the page begins; None for the first page, whose token is empty.

    :raises RpcError: INVALID_ARGUMENT, for a token that is damaged, expired, or of another list.
    """
    if not token:
        return None
    try:
        issued_for, *after = _serializer(settings).loads(token, max_age=int(settings.page_token_max_age))
    except SignatureExpired:
        raise _refusal("expired") from None
    except BadData:
        raise _refusal("not one of this server") from None
    if issued_for != scope:
        raise _refusal("of another request")
    return tuple(after)


def _serializer(settings: ScmSettings) -> URLSafeTimedSerializer:
    return _serializer_of(settings.page_token_secrets)


@functools.lru_cache
def _serializer_of(secrets: tuple[str, ...]) -> URLSafeTimedSerializer:
    # itsdangerous signs with the last of its keys.
    return URLSafeTimedSerializer(list(reversed(secrets)), salt="flask_grpcweb_scm.scm.page_token")


def _refusal(reason: str) -> RpcError:
    return invalid_argument({"page_token": f"is {reason}; ask for the first page again, without one"})
