"""Values of ``json.loads`` to messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from flask_grpcweb_scm.rpc.json_codec.fields import (
    Convert,
    UnusualError,
    is_map,
    is_repeated,
    is_usual,
    is_wrapper,
    key_from_json,
    map_entry,
    scalar_from_json,
)
from flask_grpcweb_scm.rpc.json_codec.well_known import fill_list, fill_struct, fill_value, inside, parse_timestamp

__all__ = ["Decoders"]

Fill = Callable[[Any, Any, int], None]
"""Takes a new message, the JSON value to read into it, and how many messages deep others may be inside of it."""

SetField = Callable[[Any, Any, int], None]
"""The same for one field: takes the message that it is a field of, and the JSON value for the field."""


class Decoders(dict[Any, Fill]):
    """Functions that fill messages from JSON values, by descriptor; made when they are needed.

    An exception of any kind says no more than that json_format must decide.
    """

    def __missing__(self, descriptor: Descriptor) -> Fill:
        fill = self[descriptor] = self._message(descriptor)
        return fill

    def _message(self, descriptor: Descriptor) -> Fill:
        if is_wrapper(descriptor):
            return _scalar("value", scalar_from_json(descriptor.fields_by_name["value"]))
        if descriptor.full_name in _OF_PROTOBUF:
            return _OF_PROTOBUF[descriptor.full_name]
        return self._usual(descriptor) if is_usual(descriptor) else _by_json_format

    def _usual(self, descriptor: Descriptor) -> Fill:
        fields = {field: self._field(field) for field in descriptor.fields}
        # "Parsers accept both the lowerCamelCase name (or the one specified by the json_name option) and the original
        # proto field name." (ProtoJSON)
        setters = {field.name: set_field for field, set_field in fields.items()}
        setters |= {field.json_name: set_field for field, set_field in fields.items()}
        json_names = {field.name: field.json_name for field in fields if field.name != field.json_name}
        nullable = {name for field in fields if _is_value(field) for name in (field.name, field.json_name)}
        return _fields(setters, json_names, nullable)

    def _field(self, field: FieldDescriptor) -> SetField:
        if is_map(field):
            return self._map(field)
        name, descriptor, oneof = field.name, field.message_type, field.containing_oneof
        if is_repeated(field):
            return _list(name, scalar_from_json(field)) if descriptor is None else _messages(name, self, descriptor)
        single = _scalar(name, scalar_from_json(field)) if descriptor is None else _message(name, self, descriptor)
        return single if oneof is None or len(oneof.fields) == 1 else _once(oneof.name, single)

    def _map(self, field: FieldDescriptor) -> SetField:
        key, value = map_entry(field)
        if value.message_type is None:
            return _map(field.name, key_from_json(key), scalar_from_json(value))
        return _message_map(field.name, key_from_json(key), self, value.message_type)


def _is_value(field: FieldDescriptor) -> bool:
    """Return whether null is a value of the field; else it is the field's absence."""
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


def _fields(setters: Mapping[str, SetField], json_names: Mapping[str, str], nullable: Collection[str]) -> Fill:
    originals = frozenset(json_names)

    def fill(message: Any, value: Any, depth: int) -> None:
        if type(value) is not dict:
            raise UnusualError
        if not originals.isdisjoint(value) and len({json_names.get(name, name) for name in value}) != len(value):
            raise UnusualError("a field is there under both of its names")
        for name, item in value.items():
            set_field = setters.get(name)
            if set_field is None:
                _check_unknown(name)
            elif item is not None or name in nullable:
                set_field(message, item, depth)

    return fill


def _check_unknown(name: str) -> None:
    if name.startswith("["):
        raise UnusualError("an extension, perhaps")
    # What lone surrogates in a name do depends on the implementation of protobuf.
    name.encode()


def _once(oneof: str, set_field: SetField) -> SetField:
    def set_once(message: Any, value: Any, depth: int) -> None:
        if message.WhichOneof(oneof) is not None:
            raise UnusualError
        set_field(message, value, depth)

    return set_once


def _scalar(name: str, convert: Convert | None) -> SetField:
    if convert is None:
        return lambda message, value, depth: setattr(message, name, value)
    return lambda message, value, depth: setattr(message, name, convert(value))


def _list(name: str, convert: Convert | None) -> SetField:
    def add(message: Any, value: Any, depth: int) -> None:
        if type(value) is not list:
            raise UnusualError
        getattr(message, name).extend(value if convert is None else map(convert, value))

    return add


def _map(name: str, key: Convert | None, convert: Convert | None) -> SetField:
    def put(message: Any, value: Any, depth: int) -> None:
        if type(value) is not dict:
            raise UnusualError
        values = getattr(message, name)
        for text, item in value.items():
            values[text if key is None else key(text)] = item if convert is None else convert(item)
        if len(values) != len(value):
            raise UnusualError("a key is there in two spellings")

    return put


# Decoders of messages inside are looked up when there are some: a message may be inside of itself.


def _message(name: str, decoders: Decoders, descriptor: Descriptor) -> SetField:
    def set_message(message: Any, value: Any, depth: int) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        decoders[descriptor](inner, value, inside(depth))

    return set_message


def _messages(name: str, decoders: Decoders, descriptor: Descriptor) -> SetField:
    def add(message: Any, value: Any, depth: int) -> None:
        if type(value) is not list:
            raise UnusualError
        new, fill, depth = getattr(message, name).add, decoders[descriptor], inside(depth)
        for item in value:
            fill(new(), item, depth)

    return add


def _message_map(name: str, key: Convert | None, decoders: Decoders, descriptor: Descriptor) -> SetField:
    def put(message: Any, value: Any, depth: int) -> None:
        if type(value) is not dict:
            raise UnusualError
        values, fill, depth = getattr(message, name), decoders[descriptor], inside(depth)
        for text, item in value.items():
            fill(values[text if key is None else key(text)], item, depth)
        if len(values) != len(value):
            raise UnusualError("a key is there in two spellings")

    return put


def _by_json_format(message: Any, value: Any, depth: int) -> None:
    if type(value) is not dict:
        raise UnusualError
    json_format.ParseDict(value, message, ignore_unknown_fields=True, max_recursion_depth=depth + 1)


def _timestamp(message: Any, value: Any, depth: int) -> None:
    parse_timestamp(message, value)


def _by_itself(message: Any, value: Any, depth: int) -> None:
    message.FromJsonString(value)


_OF_PROTOBUF: dict[str, Fill] = {
    "google.protobuf.Any": _by_json_format,
    "google.protobuf.Duration": _by_itself,
    "google.protobuf.FieldMask": _by_itself,
    "google.protobuf.ListValue": fill_list,
    "google.protobuf.Struct": fill_struct,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Value": fill_value,
}
