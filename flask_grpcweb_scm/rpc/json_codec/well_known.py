"""google.protobuf.Value, Struct and ListValue: any JSON in a message."""

from __future__ import annotations

import math
from typing import Any

from flask_grpcweb_scm.rpc.json_codec.fields import UnusualError

__all__ = ["fill_list", "fill_struct", "fill_value", "inside", "list_to_json", "struct_to_json", "value_to_json"]


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
