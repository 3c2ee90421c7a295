"""google.protobuf.Timestamp as text: protobuf's own functions, faster."""

from __future__ import annotations

import functools
import re
from datetime import date, datetime

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["format_timestamp", "parse_timestamp"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # all of them here are UTC
_SECONDS_PER_DAY = 86_400
_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z", re.ASCII)
_TWO_DIGITS = [f"{number:02d}" for number in range(60)]


# What lies near each other in a response is often of few days.
@functools.lru_cache(maxsize=1024)
def _date(day: int) -> str:
    return date.fromordinal(_EPOCH.toordinal() + day).isoformat()


@functools.lru_cache(maxsize=24 * 60)
def _hour_and_minute(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def format_timestamp(timestamp: Timestamp) -> str:
    """Write a time in UTC, with 0, 3, 6 or 9 digits after the point.

    :raises ValueError: for a time outside of the years 1 to 9999.
    """
    day, second = divmod(timestamp.seconds, _SECONDS_PER_DAY)
    minute, second = divmod(second, 60)
    nanos = timestamp.nanos
    time = f"{_date(day)}T{_hour_and_minute(minute)}:{_TWO_DIGITS[second]}"
    if not nanos:
        return time + "Z"
    if not 0 < nanos < 1_000_000_000:
        raise ValueError(f"{nanos} nanoseconds are not a fraction of a second")
    if nanos % 1_000:
        return f"{time}.{nanos:09d}Z"
    return f"{time}.{nanos // 1_000:06d}Z" if nanos % 1_000_000 else f"{time}.{nanos // 1_000_000:03d}Z"


def parse_timestamp(timestamp: Timestamp, text: str) -> None:
    """Read RFC 3339.

    :raises ValueError: when the text is something else.
    """
    match = _UTC.fullmatch(text)
    if match is None:
        # An offset from UTC perhaps.
        timestamp.FromJsonString(text)
        return
    time, digits = match.groups()
    since = datetime.fromisoformat(time) - _EPOCH
    timestamp.seconds = since.days * _SECONDS_PER_DAY + since.seconds
    if digits:
        timestamp.nanos = int(digits.ljust(9, "0"))
