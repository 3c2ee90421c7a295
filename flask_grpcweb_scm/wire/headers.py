"""The ``grpc-timeout`` header, the signature of a request that is sent without a token, and a cache by headers."""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import TypeVar

from flask_grpcweb_scm.wire.status import RemoteProtocolError, StatusCode

__all__ = ["MAX_TIMEOUT", "cached_by_headers", "format_timeout", "parse_timeout", "sign"]

T = TypeVar("T")

MAX_CACHED_CHARACTERS = 512
"""Headers are the caller's choice, and what they are cached by is kept."""

MAX_TIMEOUT = 10 * 365 * 86400.0
"""Seconds; anything longer is cut to this, so that clocks and sockets never overflow."""

# "TimeoutUnit → Hour / Minute / Second / Millisecond / Microsecond / Nanosecond" (PROTOCOL-HTTP2.md). It allows eight
# digits; sonora and grpc-web JavaScript send more.
_TIMEOUT = re.compile(r"([0-9]+)([HMSmun])", re.ASCII)
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def parse_timeout(value: str) -> float:
    """Read a ``grpc-timeout`` into seconds, at most :data:`MAX_TIMEOUT`.

    :raises RemoteProtocolError: INVALID_ARGUMENT, when the value is malformed.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise RemoteProtocolError(
            f"grpc-timeout {value[:40]!r} is not digits and a unit, one of H M S m u n",
            code=StatusCode.INVALID_ARGUMENT,
        )
    return min(float(match[1]) * _SECONDS[match[2]], MAX_TIMEOUT)


def format_timeout(seconds: float) -> str:
    """Write seconds as a ``grpc-timeout`` of at most eight digits, rounded up; a negative timeout is ``0n``."""
    nanoseconds = round(min(max(seconds, 0.0), MAX_TIMEOUT) * 1e9)
    for unit in "numSMH":
        amount = -(-nanoseconds // round(_SECONDS[unit] * 1e9))
        if amount < 100_000_000:
            break
    return f"{amount}{unit}"


def sign(secret: str, path: str, message: bytes, timestamp: int | None = None) -> str:
    """Compute the ``X-Signature`` of a request: HMAC-SHA256 in hex over ``{path}:{hex of message}[:{timestamp}]``.

    :param path: of the method, ``/package.Service/Method``; it is also sent as ``X-Method``.
    :param message: the message as serialized, before compression and framing.
    :param timestamp: seconds of Unix time, also sent as ``X-Timestamp``.
    """
    signed = f"{path}:{message.hex()}" + ("" if timestamp is None else f":{timestamp}")
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()


def cached_by_headers(function: Callable[..., T]) -> Callable[..., T]:
    """Cache the results of a function of headers, unless they are long: a decorator."""
    cached = functools.lru_cache(maxsize=256)(function)

    @functools.wraps(function)
    def call(*values: str | None) -> T:
        size = 0
        for value in values:
            size += len(value or "")
        return cached(*values) if size <= MAX_CACHED_CHARACTERS else function(*values)

    return call
