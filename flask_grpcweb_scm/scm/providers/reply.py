"""Responses of providers, which may have any content."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from flask_grpcweb_scm.scm.providers import (
    CredentialRefused,
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)

__all__ = [
    "MAX_FIELDS",
    "MAX_RETRY_SECONDS",
    "MAX_TEXT_CHARACTERS",
    "SECONDARY_LIMIT_SECONDS",
    "Complaint",
    "HttpReply",
    "default_complaint",
    "error_class",
    "parse_json",
    "retry_after",
    "short_line",
    "way_out",
]

MAX_TEXT_CHARACTERS = 500
MAX_FIELDS = 20
MAX_URL_CHARACTERS = 2000
SECONDARY_LIMIT_SECONDS = 60.0
"""Of a limit whose response does not say how long to wait."""
# Above what providers mean by a pause, and within what a Duration of protobuf can be.
MAX_RETRY_SECONDS = 86400.0
# What a column of the database, and a message, can have.
MAX_NUMBER = 2**63 - 1

# What to do about refusals that are about neither the request nor the credentials as such, by a word of them.
_WAYS_OUT: Mapping[str, str] = {
    # Of people and tokens: nothing that a project has.
    r"(?:account|login|password|token|user)\b.*\b(?:disabled|suspended)": "",
    "captcha_challenge": "sign in once in a browser, where the account has to solve a CAPTCHA",
    "saml": "authorize the token for the single sign-on of its organization",
    "archived": "bring the project back from the archive, or name another one",
    "disabled": "switch issues on in the settings of the project, or name another one",
    "spam": "change the text, or have the tracker trust the account",
}

V = TypeVar("V")
_STATUS_ERRORS: Mapping[int, type[ProviderError]] = {
    301: ProviderMisconfigured,
    308: ProviderMisconfigured,
    400: ProviderRejected,
    401: CredentialRefused,
    403: ProviderForbidden,
    404: ProviderNotFound,
    405: ProviderMisconfigured,  # GitLab: "Non GET methods are not allowed for moved projects"
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
    _unexpected: Callable[[], ProviderError]
    _parsed: list[Any] = field(default_factory=list, init=False, repr=False)

    def json(self) -> Any:
        """Parse the body as JSON.

        :raises ProviderUnavailable: when it is not JSON.
        """
        if not self._parsed:
            try:
                self._parsed.append(parse_json(self.body))
            except (ValueError, RecursionError):
                raise self._unexpected() from None
        return self._parsed[0]

    def value(self, *path: str | int, kind: type[V]) -> V:
        """Return the value at a path of names and positions.

        :raises ProviderUnavailable: when there is no value of that type: a text that cannot be stored is none, nor is a
            number that is not of a row.
        """
        value = self.json()
        try:
            for step in path:
                value = value[step]
        except (LookupError, TypeError):
            value = None
        if not isinstance(value, kind) or not _is_sound(value):
            raise self._unexpected()
        return value

    def url(self, *path: str | int) -> str:
        """Return the web address at a path, for people to follow.

        :raises ProviderUnavailable: when there is none.
        """
        url = self.value(*path, kind=str)
        if len(url) > MAX_URL_CHARACTERS or _URL.fullmatch(url) is None:
            raise self._unexpected()
        return url


# "\" is a slash to browsers, and the name before an "@" looks like that of the host.
_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f-\x9f\\@/?#]+(?:[/?#][^\s\x00-\x1f\x7f-\x9f\\]*)?")


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def parse_json(body: bytes) -> Any:
    """Parse JSON of RFC 8259, which has no NaN.

    :raises ValueError: for anything else; RecursionError, when it is too deep.
    """
    return json.loads(body, parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_sound(value: object) -> bool:
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is None
    if isinstance(value, int):
        return not isinstance(value, bool) and 0 < value <= MAX_NUMBER
    return True


def error_class(status: int, retry_after: float | None) -> type[ProviderError]:
    """Return the class of error for a status other than a success."""
    if status == 403 and retry_after is not None:
        return ProviderRateLimited  # GitHub sends 403 for either
    # Others of 300 to 399 lead nowhere: they have no location.
    return _STATUS_ERRORS.get(status, ProviderRejected if 400 <= status < 500 else ProviderUnavailable)


_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait; None when the headers do not say.

    "Retry-After = HTTP-date / delay-seconds" (RFC 9110, section 10.2.3); GitHub, GitLab and Jira say when a quota that
    is used up is reset.
    """
    text = headers.get("retry-after", "").strip()
    seconds: float | None = None
    if _DIGITS.fullmatch(text):
        seconds = float(text)
    elif text:
        # Of many kinds: a date may have parts that no calendar has.
        with contextlib.suppress(ValueError, ArithmeticError, LookupError, TypeError, OSError):
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    for prefix in ("x-ratelimit", "ratelimit"):
        if seconds is None and headers.get(f"{prefix}-remaining") == "0":
            seconds = _until_reset(headers.get(f"{prefix}-reset", "").strip())
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_SECONDS)


def _until_reset(text: str) -> float | None:
    """Return the seconds until an instant, in seconds since 1970 or as a date of ISO 8601; or those of a duration."""
    if _DIGITS.fullmatch(text):
        number = float(text)
        return number if number <= MAX_RETRY_SECONDS else number - time.time()
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() - time.time()
    return None


def default_complaint(error: Any) -> Complaint:
    """Read ``{"message": text}`` or ``{"error": text}``, as most APIs send them."""
    return str(error.get("message") or error["error"]), {}


def short_line(text: str) -> str:
    """Make one line of bounded length."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_TEXT_CHARACTERS]).split())
    return words if len(words) <= MAX_TEXT_CHARACTERS else words[:MAX_TEXT_CHARACTERS] + "…"


def way_out(text: str) -> str:
    """Return what to append to a provider's words, so that they say what to do."""
    found = next((way for word, way in _WAYS_OUT.items() if re.search(rf"\b{word}\b", text, re.IGNORECASE)), "")
    return found and f"; {found}"
