"""Responses of providers, which may have any content."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask_grpcweb_scm.scm.providers import (
    CredentialRefused,
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)

__all__ = ["Complaint", "HttpReply", "default_complaint", "error_class", "printable", "retry_after"]

MAX_TEXT_CHARACTERS = 500

V = TypeVar("V")
_STATUS_ERRORS: Mapping[int, type[ProviderError]] = {
    400: ProviderRejected,
    401: CredentialRefused,
    403: ProviderForbidden,
    404: ProviderNotFound,
    408: ProviderTimeout,
    409: ProviderConflict,
    410: ProviderNotFound,
    412: ProviderConflict,
    422: ProviderRejected,
    429: ProviderRateLimited,
}

Complaint = tuple[str, Mapping[str, str]]
"""A provider's description of an error: a text, and texts by field."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A response with a status from 200 to 299."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    _unreadable: ProviderError

    def json(self) -> Any:
        """Parse the body as JSON.

        :raises ProviderUnavailable: when it is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self._unreadable from None

    def value(self, *path: str | int, kind: type[V]) -> V:
        """Return the value at a path of names and positions.

        :raises ProviderUnavailable: when there is no value of that type.
        """
        value = self.json()
        try:
            for step in path:
                value = value[step]
        except (LookupError, TypeError):
            value = None
        if not isinstance(value, kind):
            raise self._unreadable
        return value

    def url(self, *path: str | int) -> str:
        """Return the web address at a path, for people to follow.

        :raises ProviderUnavailable: when there is none.
        """
        url = self.value(*path, kind=str)
        if re.fullmatch(r"https?://[^\s\x00-\x1f\x7f]+", url) is None:
            raise self._unreadable
        return url


def error_class(status: int, retry_after: float | None) -> type[ProviderError]:
    """Return the class of error for a status other than a success."""
    if status == 403 and retry_after is not None:
        return ProviderRateLimited  # GitHub sends 403 for either
    return _STATUS_ERRORS.get(status, ProviderUnavailable if status >= 500 else ProviderRejected)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait; None when the headers do not say.

    "Retry-After = HTTP-date / delay-seconds" (RFC 9110, section 10.2.3); GitHub says when its quota is reset.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    if text:
        with contextlib.suppress(ValueError, OverflowError):
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"[0-9]{1,12}", reset, re.ASCII):
        return max(0.0, int(reset) - time.time())
    return None


def default_complaint(error: Any) -> Complaint:
    """Read ``{"message": text}`` or ``{"error": text}``, as most APIs send them."""
    return str(error.get("message") or error["error"]), {}


def printable(text: str) -> str:
    """Make one line of bounded length."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_TEXT_CHARACTERS]).split())
    return words if len(words) <= MAX_TEXT_CHARACTERS else words[:MAX_TEXT_CHARACTERS] + "…"
