"""Questions to descriptors, the same in every version of protobuf."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

__all__ = ["is_map", "is_repeated", "is_usual", "is_wrapper", "map_entry"]


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
