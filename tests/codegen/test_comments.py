"""Comments of proto files, whose encoding protoc does not look at."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from flask_grpcweb_scm.codegen import comments_of


def commented(comment: bytes) -> FileDescriptorProto:
    location = b"\x0a\x02\x06\x00\x1a" + bytes([len(comment)]) + comment
    info = b"\x0a" + bytes([len(location)]) + location
    return FileDescriptorProto.FromString(b"\x4a" + bytes([len(info)]) + info)


def test_comments_by_path() -> None:
    assert comments_of(commented("café".encode())) == {(6, 0): "café"}


def test_what_is_no_utf_8_is_replaced() -> None:
    assert comments_of(commented("café".encode("latin-1"))) == {(6, 0): "caf\ufffd"}
