"""The messages of protobuf-py, connectrpc's own implementation of Protocol Buffers.

It makes no classes from descriptors at run time; its generator writes modules. That is a plugin of ``protoc``, which
reads a request from its input and writes an answer to its output, and our descriptors are all that the request needs:
nothing generated is kept here, and nobody needs ``protoc``.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto

__all__ = ["generated"]

GENERATOR = "protoc-gen-py"


def generated(file: FileDescriptor) -> ModuleType:
    """A module with protobuf-py's classes of a file's messages; the file imports well-known types only."""
    request = CodeGeneratorRequest(file_to_generate=[file.name])
    for one in (*file.dependencies, file):
        proto = request.proto_file.add()
        one.CopyToProto(proto)
        _add_json_names(proto.message_type, one.message_types_by_name)
    # In pyvoy, sys.executable is another Python.
    (command,) = (one for one in importlib.metadata.files(GENERATOR) or () if one.stem == GENERATOR)
    output = subprocess.run(
        [command.locate()], input=request.SerializeToString(), stdout=subprocess.PIPE, check=True
    ).stdout
    answer = CodeGeneratorResponse.FromString(output)
    assert not answer.error, answer.error
    name = file.name.removesuffix(".proto") + "_pb.py"
    (source,) = (one.content for one in answer.file if one.name == name)
    module = ModuleType(f"{__name__}.{Path(name).stem}")
    # The classes look for their module's names there.
    sys.modules[module.__name__] = module
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102  # the generator's output is a module
    return module


def _add_json_names(protos: Iterable[DescriptorProto], descriptors: Mapping[str, Descriptor]) -> None:
    """Fill in what ``protoc`` always tells a plugin, and descriptors at run time leave out."""
    for proto in protos:
        descriptor = descriptors[proto.name]
        for field in proto.field:
            field.json_name = descriptor.fields_by_name[field.name].json_name
        _add_json_names(proto.nested_type, descriptor.nested_types_by_name)
