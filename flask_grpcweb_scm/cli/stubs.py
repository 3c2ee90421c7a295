"""``flask grpc stubs``: what ``protoc-gen-flask-grpc`` writes, from modules that protoc has made already."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

import click
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from flask_grpcweb_scm.codegen import message_classes, messages_module, services_module, services_text
from flask_grpcweb_scm.rpc import Service, did_you_mean

__all__ = ["Stubs", "find_messages", "read_descriptors", "stubs_of"]


@dataclass(frozen=True, slots=True)
class Stubs:
    """The text for the services of a proto file, and its place."""

    messages: str
    """The module with the messages."""
    path: Path
    """A file beside that module."""
    text: str
    has_comments: bool

    def are_current(self) -> bool:
        """Return True when the file there means the same; its docstrings matter as far as the comments are known."""
        if not self.path.is_file():
            return False
        present = self.path.read_text("utf-8")
        return present == self.text or self._meaning(present) == self._meaning(self.text)

    def problem(self) -> str:
        """Say what `flask grpc stubs --check` has found."""
        state = "stale" if self.path.is_file() else "missing"
        return f"{self.path} is {state}; run: flask grpc stubs --write {self.messages}"

    def write(self) -> Path:
        """Write the file, and return its path.

        :raises click.ClickException: when it is there and was not generated, or cannot be written.
        """
        first_line = self.text[: self.text.index(" from ")]
        try:
            if self.path.is_file() and not self.path.read_text("utf-8").startswith(first_line):
                raise click.ClickException(f"{self.path} is not generated; move it out of the way")
            self.path.write_text(self.text, "utf-8", newline="\n")
        except OSError as error:
            raise click.ClickException(f"{self.path} cannot be written: {error.strerror}") from None
        return self.path

    def _meaning(self, text: str) -> str:
        package = self.messages.rpartition(".")[0]
        try:
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level:
                    node.module, node.level = resolve_name("." * node.level + (node.module or ""), package), 0
                if (
                    not self.has_comments
                    and isinstance(node, ast.ClassDef | ast.FunctionDef)
                    and ast.get_docstring(node)
                ):
                    del node.body[0]
        except (ImportError, SyntaxError):
            return text
        # Of relative imports the order is another one.
        tree.body.sort(key=lambda node: ast.dump(node) if isinstance(node, ast.Import | ast.ImportFrom) else "_")
        return ast.dump(tree)


def read_descriptors(data: bytes) -> FileDescriptorSet:
    """Read what ``protoc --descriptor_set_out`` has written."""
    try:
        return FileDescriptorSet.FromString(data)
    except DecodeError:
        raise click.UsageError(
            "the file of --comments has no descriptors; protoc --descriptor_set_out writes them"
        ) from None


def find_messages(name: str, services: Mapping[str, Service]) -> tuple[FileDescriptor, str]:
    """Return the proto file, and the module of its messages, of such a module or of a service that is served.

    :raises click.BadParameter: when there is no such module, or it has no services.
    """
    if name in services:
        file = services[name].descriptor.file
        return file, _module_of(file)
    try:
        found = vars(importlib.import_module(name)).get("DESCRIPTOR")
    except (ImportError, TypeError, ValueError) as error:
        hint = did_you_mean(name, services) or "; name a module as greeter_pb2, or see: flask grpc services"
        raise click.BadParameter(f"{name!r} is no service of this app, and no module: {error}{hint}") from None
    if not isinstance(found, FileDescriptor) or not found.services_by_name:
        raise click.BadParameter(f"the module {name} has no services; name the one that protoc made of them")
    return found, name


def stubs_of(file: FileDescriptor, module: str, comments: FileDescriptorSet | None) -> Stubs:
    """Write the code for the services of a file.

    :param module: the module of its messages.
    :param comments: descriptors with source code info, which modules do not have.
    :raises click.UsageError: when they are not of this file.
    """
    methods = [method for service in file.services_by_name.values() for method in service.methods]
    sides = [side.file for method in methods for side in (method.input_type, method.output_type)]
    modules = {**{each.name: _module_of(each) for each in sides}, file.name: module}
    proto = _proto(file)
    if comments is not None:
        _take_comments(proto, comments)
    if module not in sys.modules:
        raise click.UsageError(f"no module with the messages of {file.name} is imported; name it in place of a service")
    return Stubs(
        messages=module,
        path=Path(sys.modules[module].__file__ or "").with_name(services_module(file.name).rpartition(".")[2] + ".py"),
        text=services_text(proto, message_classes(map(_proto, [file, *sides])), modules.__getitem__),
        has_comments=comments is not None,
    )


def _proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto


def _module_of(file: FileDescriptor) -> str:
    """Name the module of a file: where protoc would have it, or where it was moved to, and imported from."""
    name = messages_module(file.name)
    if name in sys.modules:
        return name
    own = name.rpartition(".")[2]
    imported = [module for key, module in sorted(sys.modules.items()) if key.rpartition(".")[2] == own]
    descriptors = {
        module.__name__: vars(module).get("DESCRIPTOR") for module in imported if isinstance(module, ModuleType)
    }
    return next((key for key, found in descriptors.items() if found is file), name)


def _take_comments(proto: FileDescriptorProto, comments: FileDescriptorSet) -> None:
    for other in comments.file:
        if other.name == proto.name and other.service == proto.service:
            if not other.source_code_info.location:
                raise click.UsageError("the descriptors have no comments; give protoc --include_source_info")
            proto.source_code_info.CopyFrom(other.source_code_info)
            return
    raise click.UsageError(f"the descriptors do not have {proto.name} with the same services; make them anew")
