"""Reflection: what a server serves, as ``grpc.reflection.v1`` and ``v1alpha``, and as a set of descriptors.

It has the files that define the services, those of the details of errors, and those that these import; nothing else of
the pools that they are in.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from flask_grpcweb_scm.pb import reflection_v1alpha_pb2 as v1alpha
from flask_grpcweb_scm.pb.reflection_pb2 import (
    ErrorResponse,
    ExtensionNumberResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)
from flask_grpcweb_scm.pb.reflection_rpc import ServerReflection
from flask_grpcweb_scm.pb.reflection_v1alpha_rpc import ServerReflection as OldServerReflection
from flask_grpcweb_scm.rpc import CallContext, Service, StatusCode

__all__ = ["Descriptors", "read_sets", "reflection_services"]

logger = logging.getLogger("flask_grpcweb_scm")

Nested = DescriptorProto | EnumDescriptorProto
_UNDERSCORES = re.compile("_+(.?)")


class Descriptors:
    """The descriptors of some services, with the comments of their proto files where there are any.

    :param sets: descriptor sets with comments, as ``protoc --include_source_info`` writes them, beside those that are
        next to the generated modules: ``greeter.binpb`` for ``greeter_pb2.py``.
    """

    def __init__(self, sets: Sequence[FileDescriptorSet] = (), services: Sequence[Service] = ()) -> None:
        self.services = services
        """All of them, when a client first asks."""
        self._sets = sets

    @functools.cached_property
    def _index(self) -> _Index:
        return _Index(self.services, (*self._sets, *_sets_beside(self.services)))

    def file_set(self) -> FileDescriptorSet:
        """Return all files."""
        return FileDescriptorSet(file=self._index.files.values())

    def respond(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """Respond to a request of a client."""
        response = ServerReflectionResponse(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            services = [ServiceResponse(name=name) for name in sorted(each.name for each in self.services)]
            response.list_services_response.CopyFrom(ListServiceResponse(service=services))
        elif kind == "all_extension_numbers_of_type" and request.all_extension_numbers_of_type in self._index.messages:
            name = request.all_extension_numbers_of_type
            numbers = sorted(self._index.extensions.get(name, ()))
            response.all_extension_numbers_response.CopyFrom(
                ExtensionNumberResponse(base_type_name=name, extension_number=numbers)
            )
        elif (file := self._find(request, kind)) is not None:
            files = [each.SerializeToString() for each in self._index.with_imports(file)]
            response.file_descriptor_response.CopyFrom(FileDescriptorResponse(file_descriptor_proto=files))
        else:
            code, text = StatusCode.NOT_FOUND, "not found"
            if kind is None:
                code, text = StatusCode.INVALID_ARGUMENT, "the request is empty, or of a newer version"
            response.error_response.CopyFrom(ErrorResponse(error_code=code, error_message=text))
        return response

    def _find(self, request: ServerReflectionRequest, kind: str | None) -> str | None:
        """Name the file of a request."""
        if kind == "file_by_filename":
            return request.file_by_filename if request.file_by_filename in self._index.files else None
        if kind == "file_containing_symbol":
            return self._index.file_of.get(request.file_containing_symbol)
        if kind == "file_containing_extension":
            extension = request.file_containing_extension
            return self._index.extensions.get(extension.containing_type, {}).get(extension.extension_number)
        return None


class _Index:
    """The files, and what is in them."""

    def __init__(self, services: Iterable[Service], sets: Iterable[FileDescriptorSet]) -> None:
        self.files: dict[str, FileDescriptorProto] = {}
        """By name, each after those that it imports."""
        self.file_of: dict[str, str] = {}
        """The name of the file that has a symbol."""
        self.messages: set[str] = set()
        self.extensions: dict[str, dict[int, str]] = {}
        """By the message that is extended and the number: the name of the file."""
        for service in services:
            self._add(service.descriptor.file)
        for file in (status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR):
            self._add(file)
        for commented in sets:
            self._take_comments(commented)

    def _add(self, file: FileDescriptor) -> None:
        if file.name in self.files:
            return
        for dependency in file.dependencies:
            self._add(dependency)
        proto = self.files[file.name] = FileDescriptorProto()
        file.CopyToProto(proto)
        for field in _fields(proto):
            # Descriptor sets of protoc have it, modules have it not.
            field.json_name = field.json_name or _UNDERSCORES.sub(lambda match: match[1].upper(), field.name)
        package = f"{proto.package}." if proto.package else ""
        self.file_of |= dict.fromkeys(_names_of_services(package, proto), file.name)
        self._add_types(package, [*proto.message_type, *proto.enum_type], proto.extension, file.name)

    def _add_types(
        self, prefix: str, types: Iterable[Nested], extensions: Iterable[FieldDescriptorProto], file: str
    ) -> None:
        for extension in extensions:
            self.file_of[prefix + extension.name] = file
            self.extensions.setdefault(extension.extendee.lstrip("."), {})[extension.number] = file
        for each in types:
            name = prefix + each.name
            self.file_of[name] = file
            if isinstance(each, EnumDescriptorProto):
                # "enum values use C++ scoping rules, meaning that enum values are siblings of their type"
                self.file_of |= {prefix + value.name: file for value in each.value}
                continue
            self.messages.add(name)
            members = [field.name for field in each.field] + [oneof.name for oneof in each.oneof_decl]
            self.file_of |= {f"{name}.{member}": file for member in members}
            self._add_types(f"{name}.", [*each.nested_type, *each.enum_type], each.extension, file)

    def _take_comments(self, commented: FileDescriptorSet) -> None:
        for other in commented.file:
            mine = self.files.get(other.name)
            if mine is None or mine.source_code_info.location:
                continue
            # Of another version of the file, they would be at other places.
            if _without_additions(other) == _without_additions(mine):
                mine.source_code_info.CopyFrom(other.source_code_info)

    def with_imports(self, name: str) -> Iterator[FileDescriptorProto]:
        """Yield a file, and then all that it needs."""
        names = [name]
        for each in names:
            names += [other for other in self.files[each].dependency if other not in names]
            yield self.files[each]


def _names_of_services(package: str, file: FileDescriptorProto) -> Iterator[str]:
    for service in file.service:
        yield package + service.name
        for method in service.method:
            yield f"{package}{service.name}.{method.name}"


def read_sets(paths: Iterable[str | Path]) -> list[FileDescriptorSet]:
    """Read files that protoc or buf have written.

    :raises ValueError: for one that cannot be read.
    """
    sets = []
    for path in paths:
        try:
            sets.append(FileDescriptorSet.FromString(Path(path).read_bytes()))
        except (DecodeError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it has no descriptors"
            raise ValueError(
                f"{str(path)!r}: {reason}; protoc --include_source_info --descriptor_set_out writes such files"
            ) from None
    return sets


def _sets_beside(services: Iterable[Service]) -> Iterator[FileDescriptorSet]:
    """Read the descriptor sets next to the modules of the services' messages."""
    methods = [method for service in services for method in service.descriptor.methods]
    messages = [message for method in methods for message in (method.input_type, method.output_type)]
    for name in sorted({str(GetMessageClass(message).__module__) for message in messages}):
        path = getattr(sys.modules.get(name), "__file__", None)
        if path and name.endswith("_pb2"):
            beside = Path(path).with_name(name.rpartition(".")[2].removesuffix("_pb2") + ".binpb")
            try:
                yield from read_sets([beside] if beside.is_file() else [])
            except ValueError as error:
                # Nobody has named it.
                logger.warning("reflection goes without the comments of %s", error)


def _without_additions(file: FileDescriptorProto) -> FileDescriptorProto:
    """Copy a file without what protoc adds to descriptor sets alone."""
    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    if copy.syntax == "proto2":  # the default
        copy.ClearField("syntax")
    for field in _fields(copy):
        field.ClearField("json_name")
    return copy


def _fields(file: FileDescriptorProto) -> Iterator[FieldDescriptorProto]:
    yield from file.extension
    messages = [*file.message_type]
    for message in messages:
        messages += message.nested_type
        yield from (*message.field, *message.extension)


def reflection_services(descriptors: Descriptors) -> tuple[Service, Service]:
    """Make the service, and the one of clients that know its first version only."""
    service, old = ServerReflection(), OldServerReflection()

    @service.ServerReflectionInfo
    def respond(
        requests: Iterator[ServerReflectionRequest], context: CallContext
    ) -> Iterator[ServerReflectionResponse]:
        for request in requests:
            yield descriptors.respond(request)

    @old.ServerReflectionInfo
    def respond_to_old(
        requests: Iterator[v1alpha.ServerReflectionRequest], context: CallContext
    ) -> Iterator[v1alpha.ServerReflectionResponse]:
        # The messages are the same but for their package.
        for request in requests:
            response = descriptors.respond(ServerReflectionRequest.FromString(request.SerializeToString()))
            yield v1alpha.ServerReflectionResponse.FromString(response.SerializeToString())

    return service, old
