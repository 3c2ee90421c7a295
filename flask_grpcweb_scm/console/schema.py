"""Descriptors as JSON that a page can read: services, messages and enums, with the comments of their proto files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodOptions
from google.rpc import error_details_pb2, status_pb2

from flask_grpcweb_scm.codegen import comments_of
from flask_grpcweb_scm.rpc import Service
from flask_grpcweb_scm.rpc.json_codec.fields import is_map, is_repeated, map_entry

__all__ = ["schema_of"]

_NO_SIDE_EFFECTS = MethodOptions.NO_SIDE_EFFECTS
_TYPES = {value.number: value.name[len("TYPE_") :].lower() for value in FieldDescriptorProto.Type.DESCRIPTOR.values}
Json = dict[str, Any]


def schema_of(services: Sequence[Service], files: FileDescriptorSet) -> Json:
    """Describe services, and all messages and enums that they have to do with.

    :param files: those of the services, with their comments. What is false, empty or usual is left out.
    """
    comments = {name: text for file in files.file for name, text in _comments(file)}
    messages: dict[str, Json] = {}
    enums: dict[str, Json] = {}
    waiting = [message for each in services for message in _messages(each.descriptor.file)]
    # Details of errors.
    waiting += [status_pb2.Status.DESCRIPTOR, *error_details_pb2.DESCRIPTOR.message_types_by_name.values()]
    waiting += [each for service in services for each in _requests_and_responses(service)]
    for message in waiting:
        if message.full_name not in messages:
            messages[message.full_name] = _message(message, comments) | {"file": message.file.name}
            for field in message.fields:
                if field.message_type is not None:
                    waiting.append(field.message_type)
                elif field.enum_type is not None:
                    enums[field.enum_type.full_name] = _enum(field.enum_type, comments)
    # Entries of maps are in their fields.
    messages = {each.full_name: messages[each.full_name] for each in waiting if not each.GetOptions().map_entry}
    return {"services": [_service(each, comments) for each in services], "messages": messages, "enums": enums}


def _requests_and_responses(service: Service) -> Iterator[Descriptor]:
    for method in service.descriptor.methods:
        yield method.input_type
        yield method.output_type


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    """Yield the messages of a file and of those that it imports, but for protobuf's own: some may be in an ``Any``."""
    files = [file]
    for each in files:
        files += [other for other in each.dependencies if other not in files and not other.name.startswith("google/")]
        messages = [*each.message_types_by_name.values()]
        for message in messages:
            messages += message.nested_types
        yield from messages


def _service(service: Service, comments: Mapping[str, str]) -> Json:
    descriptor = service.descriptor
    methods = [_method(method, service, comments) for method in descriptor.methods]
    return _described(descriptor, comments) | {
        "name": descriptor.full_name,
        "file": descriptor.file.name,
        "methods": methods,
    }


def _method(method: MethodDescriptor, service: Service, comments: Mapping[str, str]) -> Json:
    examples = [
        {"title": title, "requests": [json_format.MessageToDict(request) for request in requests]}
        for title, requests in service.examples.get(method.name, ())
    ]
    return _described(method, comments) | _true(
        name=method.name,
        request=method.input_type.full_name,
        response=method.output_type.full_name,
        clientStreaming=method.client_streaming,
        serverStreaming=method.server_streaming,
        safe=method.GetOptions().idempotency_level == _NO_SIDE_EFFECTS,
        examples=examples,
    )


def _message(message: Descriptor, comments: Mapping[str, str]) -> Json:
    oneofs = {each.name: comments[each.full_name] for each in message.oneofs if each.full_name in comments}
    fields = [_field(field, comments) for field in message.fields]
    return _described(message, comments) | _true(fields=fields, oneofs=oneofs)


def _field(field: FieldDescriptor, comments: Mapping[str, str]) -> Json:
    value = map_entry(field)[1] if is_map(field) else field
    oneof = field.containing_oneof
    # The compiler makes a oneof for each optional field.
    is_alone = oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{field.name}"
    return _described(field, comments) | _true(
        name=field.name,
        json=field.json_name if field.json_name != field.name else None,
        number=field.number,
        type=_type(value),
        of=value.message_type.full_name if value.message_type else value.enum_type and value.enum_type.full_name,
        key=_type(map_entry(field)[0]) if is_map(field) else None,
        repeated=is_repeated(field) and not is_map(field),
        oneof=oneof.name if oneof is not None and not is_alone else None,
        optional=field.has_presence and field.message_type is None and (oneof is None or is_alone),
        secret=field.GetOptions().debug_redact,
        default=_default(field),
    )


def _type(field: FieldDescriptor) -> str:
    return _TYPES[field.type]


def _default(field: FieldDescriptor) -> str | None:
    """The default value of a proto2 field, to be read."""
    if not field.has_default_value:
        return None
    if field.enum_type is not None:
        return field.enum_type.values_by_number[field.default_value].name
    return str(field.default_value)


def _enum(enum: EnumDescriptor, comments: Mapping[str, str]) -> Json:
    prefix = f"{enum.full_name}."
    values = [
        _true(name=value.name, comment=comments.get(prefix + value.name), deprecated=value.GetOptions().deprecated)
        | {"number": value.number}
        for value in enum.values
    ]
    return _described(enum, comments) | {"values": values}


def _described(descriptor: Any, comments: Mapping[str, str]) -> Json:
    return _true(comment=comments.get(descriptor.full_name), deprecated=descriptor.GetOptions().deprecated)


def _true(**values: object) -> Json:
    return {name: value for name, value in values.items() if value}


def _comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yield what has a comment in a file, by its full name."""
    for path, comment in comments_of(file).items():
        name = _name_at(file, path) if comment else None
        if name:
            yield name, textwrap.dedent(comment).strip()


def _name_at(file: FileDescriptorProto, path: Iterable[int]) -> str | None:
    """The full name of what is at a path, which has the number of a list and an index in it by turns."""
    node: Any = file
    names = [file.package] if file.package else []
    steps = iter(path)
    for number in steps:
        field = node.DESCRIPTOR.fields_by_number.get(number)
        index = next(steps, None)
        if index is None or field is None or field.message_type is None or not is_repeated(field):
            return None
        node = getattr(node, field.name)[index]
        if "name" not in node.DESCRIPTOR.fields_by_name:
            return None
        names.append(node.name)
    return ".".join(names) if len(names) > 1 or not file.package else None
