"""Keyset pages: a token has the position of the last row, and the list that it belongs to."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from itsdangerous import BadData, TimestampSigner, base64_decode, base64_encode

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.scm.settings import ScmSettings, current_settings
from flask_grpcweb_scm.scm.validation import invalid_argument, validate

__all__ = ["PAGE_BYTES", "PageScope", "Position", "RequestedPage", "page_size", "read_page_token", "write_page_token"]

CLOCK_TOLERANCE = 60
"""Seconds that the clock of the machine which has signed a token may be ahead of ours."""

PAGE_BYTES = 2 * 2**20
"""A page ends after the row with which its rows have so many: common clients take 4 MiB."""

PageScope = list[str | int]
"""The RPC and its fields, except the position, that decide which rows it lists and in which order."""

Row = TypeVar("Row")

Position = tuple[str | int, ...]
"""The sort key of the last row of a page; the last of its values is unique."""


@dataclass(frozen=True, slots=True)
class RequestedPage:
    """A page of a list, as requested."""

    scope: PageScope
    size: int
    after: Position | None
    """None for the first page."""
    settings: ScmSettings

    @classmethod
    def of(cls, requested_size: int, token: str, scope: PageScope) -> RequestedPage:
        """Read `page_size` and `page_token` of a request.

        :raises RpcError: INVALID_ARGUMENT, for either.
        """
        settings = current_settings()
        size = page_size(requested_size, settings)
        return cls(scope, size, read_page_token(token, scope, settings), settings)

    @property
    def limit(self) -> int:
        """Number of rows to read: one more than the page has, to know whether there is a next page."""
        return self.size + 1

    def next_token(self, rows: Sequence[Row], position: Callable[[Row], Position], *, is_cut: bool = False) -> str:
        """Return the token of the next page; empty for the last page.

        :param rows: of this page, up to :attr:`limit`.
        :param position: returns the sort key of a row.
        :param is_cut: others follow, however few these are.
        """
        if len(rows) <= self.size and not is_cut:
            return ""
        return write_page_token(self.scope, position(rows[: self.size][-1]), self.settings)


def page_size(requested: int, settings: ScmSettings) -> int:
    """Return the number of rows of a page.

    :raises RpcError: INVALID_ARGUMENT, for a negative number.
    """
    validate(page_size=f"must be 0 or more, got {requested}" if requested < 0 else None)
    return min(requested or settings.page_size, settings.max_page_size)


def write_page_token(scope: PageScope, after: Position, settings: ScmSettings) -> str:
    """Make the token for the rows after a position."""
    return _signer(settings.page_token_secrets).sign(base64_encode(json.dumps([scope, *after]))).decode("ascii")


def read_page_token(token: str, scope: PageScope, settings: ScmSettings) -> Position | None:
    """Return the position in a token; None for the first page, whose token is empty.

    :raises RpcError: INVALID_ARGUMENT, for an invalid or expired token, or one of another list.
    """
    if not token:
        return None
    try:
        # Without max_age: it would refuse a token that another machine, with a clock half a second ahead, has signed.
        signed, signing_time = _signer(settings.page_token_secrets).unsign(token, return_timestamp=True)
        issued_for, *after = json.loads(base64_decode(signed))
    except BadData:
        raise _refusal("not one of this server") from None
    age = int(time.time()) - signing_time.timestamp()
    if age > int(settings.page_token_max_age):
        raise _refusal("expired")
    if age < -CLOCK_TOLERANCE:
        raise _refusal(f"from a server whose clock is more than {CLOCK_TOLERANCE} seconds ahead")
    if issued_for != scope:
        raise _refusal("of another request")
    return tuple(after)


@functools.lru_cache
def _signer(secrets: tuple[str, ...]) -> TimestampSigner:
    # itsdangerous signs with the last of its keys. Its serializers make a signer for every token, and compress first.
    return TimestampSigner(list(reversed(secrets)), "flask_grpcweb_scm.scm.page_token", digest_method=hashlib.sha256)


def _refusal(reason: str) -> RpcError:
    return invalid_argument({"page_token": f"is {reason}; request the first page again, without a token"})
