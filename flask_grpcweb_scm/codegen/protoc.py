"""``protoc-gen-flask-grpc``: the plugin for protoc and buf."""

from __future__ import annotations

import re
import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition
from google.protobuf.message import DecodeError

from flask_grpcweb_scm.codegen.services import message_classes, messages_module, services_module, services_text

__all__ = ["main", "respond"]

USAGE = """\
protoc-gen-flask-grpc is a plugin, which protoc and buf run:

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --flask-grpc_out=. greeter.proto

It writes greeter_rpc.py, beside greeter_pb2.py. Options, for --flask-grpc_opt or `opt` of buf.gen.yaml:

    imports=relative   the modules import each other as parts of one package, wherever that is
"""
# The text depends on no feature of editions.
_EDITIONS = [number for name, number in Edition.items() if re.fullmatch("EDITION_[0-9]{4}", name)]


def main() -> None:
    """Read a request from standard input, and write the response to standard output."""
    if len(sys.argv) > 1 or sys.stdin.isatty():
        sys.exit(USAGE)
    try:
        request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    except DecodeError:
        sys.exit("standard input is no request of protoc's\n\n" + USAGE)
    sys.stdout.buffer.write(respond(request).SerializeToString(deterministic=True))


def respond(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Write the modules for the files that were named to protoc, of those that have services."""
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=Edition.EDITION_PROTO2,
        maximum_edition=max(_EDITIONS),
    )
    options = [option for option in request.parameter.split(",") if option]
    for option in options:
        if option not in {"imports=absolute", "imports=relative"}:
            response.error = f"unknown option {option!r}; there are imports=absolute, the default, and imports=relative"
            return response
    is_relative = options[-1:] == ["imports=relative"]
    classes = message_classes(request.proto_file)
    names = set(request.file_to_generate)
    for file in request.proto_file:
        if file.name in names and file.service:
            own = services_module(file.name)
            module_of = _RelativeModules(own) if is_relative else messages_module
            response.file.add(name=own.replace(".", "/") + ".py", content=services_text(file, classes, module_of))
    return response


class _RelativeModules:
    """Names of modules as seen from another one; those of Google's own files come with packages."""

    def __init__(self, module: str) -> None:
        self._package = module.split(".")[:-1]

    def __call__(self, proto: str) -> str:
        module = messages_module(proto)
        if proto.startswith("google/"):
            return module
        *package, name = module.split(".")
        shared = 0
        while shared < min(len(package), len(self._package)) and package[shared] == self._package[shared]:
            shared += 1
        dots = "." * (1 + len(self._package) - shared)
        return dots + ".".join([*package[shared:], name])
