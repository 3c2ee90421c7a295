"""Faults at the host of a tracker, hostile values, and checks of what a tracker makes of them."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from werkzeug.wrappers import Response

from flask_grpcweb_scm.testing.vendor import Fault, texts_of
from flask_grpcweb_scm.trackers import (
    CredentialRefused,
    FoundIssue,
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    TrackerIssue,
)

__all__ = [
    "FIELDS",
    "GARBAGE",
    "LOST",
    "MAX_CHANGED",
    "STATUSES",
    "UNREADABLE",
    "VALUES",
    "caught",
    "changed_values",
    "check_sound",
    "once",
]

STATUSES: Mapping[int, type[ProviderError]] = {
    400: ProviderRejected,
    401: CredentialRefused,
    403: ProviderForbidden,
    404: ProviderNotFound,
    409: ProviderConflict,
    422: ProviderRejected,
    429: ProviderRateLimited,
    503: ProviderUnavailable,
}
GARBAGE = [b"", b"null", b"[]", b"{}", b"7", b'"x"', b"NaN", b"<html>", b"[" * 100_000, b"\xff", b'{"data": null}']
VALUES: list[Any] = [None, True, -1, 2**63, "", "..", "a\0\ud800", "javascript:alert(1)", "x" * 300_000, {}, [7]]
FIELDS = [
    "..", ".", "../..", "a/../../x", "a b\r\nX: y", "a?x=1#y", "a#x", "\r\n", "'; --", "%2e%2e", "\0", "x" * 3000,
    "\ud800",
]  # fmt: skip
# Of a response: a vendor may send much of which nothing is read.
MAX_CHANGED = 60
UNREADABLE = "\0\x1b\u202e\ud800"
# Where a response is lost or changed, of a request that acts and of one that does not.
LOST: Mapping[str, Fault] = {
    "cut before": lambda run: None,
    "cut after": lambda run: [run(), None][1],
    "failed before": lambda run: Response("", 503),
    "failed after": lambda run: [run(), Response("", 502)][1],
    "nonsense after": lambda run: [run(), Response("{}", 200)][1],
    "a page after": lambda run: [run(), Response("<html>", 200, mimetype="text/html")][1],
    "half after": lambda run: Response(run().get_data()[:-3], 200, mimetype="application/json"),
}


def once(place: int, text: str) -> Fault:
    """Have one response have another body."""
    numbers = itertools.count()

    def fault(run: Callable[[], Response]) -> Response:
        response = run()
        if next(numbers) == place:
            response.set_data(text)
        return response

    return fault


def caught(call: Callable[[], object]) -> ProviderError | None:
    """Return the error that a call ends with; None for a success."""
    try:
        call()
    except ProviderError as error:
        return error
    return None


def changed_values(answer: Any, value: Any) -> Iterator[Any]:
    """Yield copies of JSON, with one of its values replaced in each."""
    rows = itertools.islice(enumerate(answer), 2) if isinstance(answer, list) else ()
    items = answer.items() if isinstance(answer, dict) else rows
    for key, item in items:
        for other in [value, *changed_values(item, value)]:
            copy = dict(answer) if isinstance(answer, dict) else list(answer)
            copy[key] = other
            yield copy


def check_sound(result: object) -> None:
    """Assert that issues have nothing that could not be stored, shown and followed."""
    for issue in result if isinstance(result, list | tuple) else [result]:
        if not isinstance(issue, TrackerIssue | FoundIssue):
            assert issue is None, f"{issue!r} is no issue"
            continue
        assert issue.key
        assert len(issue.key) <= 256
        assert issue.key.isprintable(), f"the key {issue.key!r} is not printable"
        assert re.fullmatch(r"(https?://[^\s\\]+)?", issue.web_url), f"{issue.web_url!r} is no address to follow"
        texts = [*texts_of(dataclasses.asdict(issue))]
        assert not [text for text in texts if re.search("[\0\ud800-\udfff]", text)], f"{texts!r} cannot be stored"
        assert max(map(len, texts)) <= 4000
