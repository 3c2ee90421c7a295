"""The ``grpc-timeout`` header."""

from __future__ import annotations

import re

from flask_grpcweb_scm.wire.errors import RemoteProtocolError
from flask_grpcweb_scm.wire.status import StatusCode

__all__ = ["MAX_TIMEOUT", "format_timeout", "parse_timeout"]

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
