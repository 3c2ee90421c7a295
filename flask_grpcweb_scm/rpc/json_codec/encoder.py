"""Messages to what ``json.dumps`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from flask_grpcweb_scm.rpc.json_codec.fields import (
    Convert,
    is_map,
    is_repeated,
    is_usual,
    is_wrapper,
    key_to_json,
    map_entry,
    scalar_to_json,
)
from flask_grpcweb_scm.rpc.json_codec.well_known import format_timestamp, list_to_json, struct_to_json, value_to_json

__all__ = ["Encoders"]


class Encoders(dict[Any, Convert]):
    """Functions from messages to JSON values, by descriptor; made when they are needed.

    An exception of any kind says no more than that json_format must decide.
    """

    def __missing__(self, descriptor: Descriptor) -> Convert:
        convert = self[descriptor] = self._message(descriptor)
        return convert

    def _message(self, descriptor: Descriptor) -> Convert:
        if is_wrapper(descriptor):
            return _wrapper(scalar_to_json(descriptor.fields_by_name["value"]))
        if descriptor.full_name in _OF_PROTOBUF:
            return _OF_PROTOBUF[descriptor.full_name]
        if not is_usual(descriptor):
            return json_format.MessageToDict
        return _fields({field: (field.json_name, self.field(field)) for field in descriptor.fields})

    def field(self, field: FieldDescriptor) -> Convert | None:
        """Return the function that writes the values of a field."""
        if is_map(field):
            key, value = map_entry(field)
            return _map(key_to_json(key), self._single(value))
        if is_repeated(field):
            return self._list(field)
        return self._single(field)

    def _list(self, field: FieldDescriptor) -> Convert:
        convert = self._single(field)
        return list if convert is None else lambda values: [convert(value) for value in values]

    def _single(self, field: FieldDescriptor) -> Convert | None:
        descriptor = field.message_type
        if descriptor is None:
            return scalar_to_json(field)
        # Others are looked up at each use: a message may be inside of itself.
        return _OF_PROTOBUF.get(descriptor.full_name) or (lambda message: self[descriptor](message))


def _fields(fields: Mapping[FieldDescriptor, tuple[str, Convert | None]]) -> Convert:
    def convert_fields(message: Any) -> dict[str, Any]:
        values = {}
        for field, value in message.ListFields():
            name, convert = fields[field]
            values[name] = value if convert is None else convert(value)
        return values

    return convert_fields


def _map(key: Convert | None, convert: Convert | None) -> Convert:
    # Maps are faster by their keys than by items().
    if key is None and convert is None:
        return lambda values: {name: values[name] for name in values}
    to_key, to_value = key or _same, convert or _same
    return lambda values: {to_key(name): to_value(values[name]) for name in values}


def _wrapper(convert: Convert | None) -> Convert:
    return lambda message: message.value if convert is None else convert(message.value)


def _same(value: Any) -> Any:
    return value


_OF_PROTOBUF: dict[str, Convert] = {
    "google.protobuf.Any": json_format.MessageToDict,
    "google.protobuf.Duration": lambda message: message.ToJsonString(),
    "google.protobuf.FieldMask": lambda message: message.ToJsonString(),
    "google.protobuf.ListValue": list_to_json,
    "google.protobuf.Struct": struct_to_json,
    "google.protobuf.Timestamp": format_timestamp,
    "google.protobuf.Value": value_to_json,
}
