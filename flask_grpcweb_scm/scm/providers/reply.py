"""Reading what trackers answer, which may be anything."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask_grpcweb_scm.scm.providers.errors import (
    CredentialRefused,
    TrackerConflict,
    TrackerError,
    TrackerForbidden,
    TrackerNotFound,
    TrackerRateLimited,
    TrackerRejected,
    TrackerTimeout,
    TrackerUnavailable,
)

__all__ = ["Complaint", "HttpReply", "error_class", "plain_complaint", "printable", "retry_after"]

MAX_TEXT_CHARACTERS = 500

V = TypeVar("V")
_STATUS_ERRORS: Mapping[int, type[TrackerError]] = {
    400: TrackerRejected,
    401: CredentialRefused,
    403: TrackerForbidden,
    404: TrackerNotFound,
    408: TrackerTimeout,
    409: TrackerConflict,
    410: TrackerNotFound,
    412: TrackerConflict,
    422: TrackerRejected,
    429: TrackerRateLimited,
}

Complaint = tuple[str, Mapping[str, str]]
"""What a tracker says is wrong: a text, and texts by field."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer with a status from 200 to 299."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    _unreadable: TrackerError

    def json(self) -> Any:
        """The body as JSON.

        :raises TrackerUnavailable: when it is something else.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self._unreadable from None

    def value(self, *path: str | int, kind: type[V]) -> V:
        """What the JSON has at a path of names and positions.

        :raises TrackerUnavailable: when it has nothing of that type there.
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
        """What the JSON has at a path, for people to follow.

        :raises TrackerUnavailable: when it is no web address.
        """
        url = self.value(*path, kind=str)
        if re.fullmatch(r"https?://[^\s\x00-\x1f\x7f]+", url) is None:
            raise self._unreadable
        return url


def error_class(status: int, retry_after: float | None) -> type[TrackerError]:
    """What a status that is no success means."""
    if status == 403 and retry_after is not None:
        return TrackerRateLimited  # GitHub answers 403 for either
    return _STATUS_ERRORS.get(status, TrackerUnavailable if status >= 500 else TrackerRejected)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds: "Retry-After = HTTP-date / delay-seconds" (RFC 9110, section 10.2.3), or when GitHub's quota is new."""
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


def plain_complaint(answer: Any) -> Complaint:
    """``{"message": text}`` or ``{"error": text}``, as most APIs write."""
    return str(answer.get("message") or answer["error"]), {}


def printable(text: str) -> str:
    """One line of bounded length."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_TEXT_CHARACTERS]).split())
    return words if len(words) <= MAX_TEXT_CHARACTERS else words[:MAX_TEXT_CHARACTERS] + "…"
