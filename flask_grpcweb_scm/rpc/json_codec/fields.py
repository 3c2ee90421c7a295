"""Fields: what kind they are, in every version of protobuf; scalars, enums and map keys to JSON and back.

The functions take what is usual. An exception of any kind, theirs or protobuf's when it is given what they return, says
no more than that json_format must decide.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

__all__ = [
    "Convert",
    "UnusualError",
    "is_map",
    "is_repeated",
    "is_usual",
    "is_wrapper",
    "key_from_json",
    "key_to_json",
    "map_entry",
    "scalar_from_json",
    "scalar_to_json",
]

Convert = Callable[[Any], Any]
"""A missing function, None, stands for values that are the same on both sides."""


class UnusualError(Exception):
    """Something that json_format must decide."""


def is_repeated(field: FieldDescriptor) -> bool:
    """Return whether a field is a list or a map."""
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return bool(field.label == field.LABEL_REPEATED)  # type: ignore[attr-defined]  # protobuf 5


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def map_entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """Key and value of a map field."""
    assert field.message_type is not None
    entry = field.message_type.fields_by_name
    return entry["key"], entry["value"]


def is_wrapper(descriptor: Descriptor) -> bool:
    """Return whether a message stands for a scalar, or nothing: StringValue and its kin."""
    return descriptor.file.name == "google/protobuf/wrappers.proto"


def is_usual(descriptor: Descriptor) -> bool:
    """Return whether all fields of a message are such as proto3 has."""
    return (
        not descriptor.is_extendable
        and all(field.type != field.TYPE_GROUP for field in descriptor.fields)
        and all(map(_is_usual_enum, _enums(descriptor)))
    )


def _enums(descriptor: Descriptor) -> Iterator[EnumDescriptor]:
    for field in descriptor.fields:
        value = map_entry(field)[1] if is_map(field) else field
        if value.enum_type is not None:
            yield value.enum_type


def _is_usual_enum(enum: EnumDescriptor) -> bool:
    return not (
        enum.is_closed
        or enum.full_name == "google.protobuf.NullValue"
        # One of them, in protobuf 7, is another name in JSON.
        or any(option.is_extension for value in enum.values for option, _ in value.GetOptions().ListFields())
    )


# Converters


def scalar_to_json(field: FieldDescriptor) -> Convert | None:
    """Return the function that writes the values of a field that is no message."""
    if field.enum_type is not None:
        return _enum_to_json(field.enum_type)
    return _bytes_to_json if field.type == field.TYPE_BYTES else _TO_JSON.get(field.cpp_type)


def scalar_from_json(field: FieldDescriptor) -> Convert | None:
    """Return the function that reads the values of a field that is no message."""
    if field.enum_type is not None:
        return _enum_from_json(field.enum_type)
    return _bytes_from_json if field.type == field.TYPE_BYTES else _FROM_JSON.get(field.cpp_type)


def key_to_json(field: FieldDescriptor) -> Convert | None:
    """Return the function that writes the keys of a map."""
    return _KEY_TO_JSON.get(field.cpp_type, str)


def key_from_json(field: FieldDescriptor) -> Convert | None:
    """Return the function that reads the keys of a map."""
    return _KEY_FROM_JSON.get(field.cpp_type, _integer_from_json)


# Enums: "Parsers accept both enum names and integer values." (ProtoJSON)


class _Names(dict[int, Any]):
    """Names by number. A value that the enum does not have stays a number."""

    def __missing__(self, number: int) -> int:
        return number


def _enum_to_json(enum: EnumDescriptor) -> Convert:
    # Of several names, values_by_number has the first.
    return _Names((value.number, enum.values_by_number[value.number].name) for value in enum.values).__getitem__


def _enum_from_json(enum: EnumDescriptor) -> Convert:
    numbers = {value.name: value.number for value in enum.values}

    def convert(value: Any) -> int:
        number = numbers.get(value)
        return _plain_integer(value) if number is None else number

    return convert


# Numbers


def _plain_integer(value: Any) -> int:
    if type(value) is not int:
        raise UnusualError
    return value


def _integer_from_json(value: Any) -> int:
    return int(value) if type(value) is str and " " not in value else _plain_integer(value)


def _double_to_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _double_from_json(value: Any) -> float:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return float(value)
    return _NOT_FINITE[value]


def _float_to_json(value: float) -> float | str:
    """Of the numbers that are this one in 32 bits, the shortest: 0.1 and not 0.10000000149011612."""
    if not math.isfinite(value):
        return _double_to_json(value)
    # Six digits always survive 32 bits, and nine always suffice for them.
    for digits in range(6, 9):
        number = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", number)) == (value,):
            return number
    return float(f"{value:.9g}")


def _float_from_json(value: Any) -> float:
    number = _double_from_json(value)
    if math.isfinite(number) and abs(number) > _LARGEST_FLOAT:
        raise UnusualError
    return number


# Others


def _bool_from_json(value: Any) -> bool:
    if type(value) is not bool:
        raise UnusualError
    return value


def _bytes_to_json(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes_from_json(value: Any) -> bytes:
    if type(value) is not str:
        raise UnusualError
    encoded = value.encode()
    # "Either standard or URL-safe base64 encoding with/without paddings are accepted." (ProtoJSON)
    return base64.urlsafe_b64decode(encoded + b"=" * (4 - len(encoded) % 4))


_LARGEST_FLOAT = 3.4028234663852886e38
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_TO_JSON: dict[int, Convert] = {
    # "int64, fixed64, uint64: string. JSON value will be a decimal string." (ProtoJSON)
    FieldDescriptor.CPPTYPE_INT64: str,
    FieldDescriptor.CPPTYPE_UINT64: str,
    FieldDescriptor.CPPTYPE_FLOAT: _float_to_json,
    FieldDescriptor.CPPTYPE_DOUBLE: _double_to_json,
}
# Texts are missing: protobuf refuses what is none, and lone surrogates.
_FROM_JSON: dict[int, Convert] = {
    FieldDescriptor.CPPTYPE_BOOL: _bool_from_json,
    FieldDescriptor.CPPTYPE_DOUBLE: _double_from_json,
    FieldDescriptor.CPPTYPE_FLOAT: _float_from_json,
    FieldDescriptor.CPPTYPE_INT32: _integer_from_json,
    FieldDescriptor.CPPTYPE_INT64: _integer_from_json,
    FieldDescriptor.CPPTYPE_UINT32: _integer_from_json,
    FieldDescriptor.CPPTYPE_UINT64: _integer_from_json,
}
_KEY_TO_JSON: dict[int, Convert | None] = {
    FieldDescriptor.CPPTYPE_STRING: None,
    FieldDescriptor.CPPTYPE_BOOL: {False: "false", True: "true"}.__getitem__,
}
_KEY_FROM_JSON: dict[int, Convert | None] = {
    FieldDescriptor.CPPTYPE_STRING: None,
    FieldDescriptor.CPPTYPE_BOOL: {"false": False, "true": True}.__getitem__,
}
