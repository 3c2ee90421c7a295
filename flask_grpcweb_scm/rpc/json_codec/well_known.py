"""Messages of protobuf itself: Value, Struct and ListValue, which are any JSON, and Timestamp, which is a text."""

from __future__ import annotations

import functools
import math
import re
from datetime import date, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.rpc.json_codec.fields import UnusualError

__all__ = [
    "fill_list",
    "fill_struct",
    "fill_value",
    "format_time",
    "format_timestamp",
    "inside",
    "list_to_json",
    "parse_timestamp",
    "struct_to_json",
    "value_to_json",
]


def value_to_json(message: Any) -> Any:
    """Write a Value."""
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "struct_value":
        return struct_to_json(value)
    if kind == "list_value":
        return list_to_json(value)
    if kind == "number_value" and not math.isfinite(value):
        raise UnusualError
    return value


def list_to_json(message: Any) -> list[Any]:
    """Write a ListValue."""
    return [value_to_json(value) for value in message.values]


def struct_to_json(message: Any) -> dict[str, Any]:
    """Write a Struct."""
    fields = message.fields
    return {name: value_to_json(fields[name]) for name in fields}


def fill_value(message: Any, value: Any, depth: int) -> None:
    """Read a Value; `depth` is how many messages deep others may be inside of it."""
    kind = type(value)
    if kind is dict:
        message.struct_value.SetInParent()
        fill_struct(message.struct_value, value, inside(depth))
    elif kind is list:
        message.list_value.SetInParent()
        fill_list(message.list_value, value, inside(depth))
    else:
        setattr(message, _KINDS[kind], 0 if value is None else value)


def fill_list(message: Any, value: Any, depth: int) -> None:
    """Read a ListValue."""
    if type(value) is not list:
        raise UnusualError
    add, depth = message.values.add, inside(depth)
    for item in value:
        fill_value(add(), item, depth)


def fill_struct(message: Any, value: Any, depth: int) -> None:
    """Read a Struct."""
    if type(value) is not dict:
        raise UnusualError
    fields, depth = message.fields, inside(depth)
    for name, item in value.items():
        fill_value(fields[name], item, depth)


def inside(depth: int) -> int:
    """The depth that is left inside of a message that is inside of one with `depth` left.

    :raises UnusualError: when none is left: json_format says so to the caller.
    """
    if depth == 0:
        raise UnusualError
    return depth - 1


_KINDS = {
    bool: "bool_value",
    float: "number_value",
    int: "number_value",
    str: "string_value",
    type(None): "null_value",
}


# Timestamps: protobuf's own functions, faster

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
    return format_time(timestamp.seconds, timestamp.nanos)


def format_time(seconds: int, nanos: int) -> str:
    """Write a time as :func:`format_timestamp` does; `seconds` are since 1970."""
    day, second = divmod(seconds, _SECONDS_PER_DAY)
    minute, second = divmod(second, 60)
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
