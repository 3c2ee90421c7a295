"""Comments of proto files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

__all__ = ["comments_of"]


def comments_of(file: FileDescriptorProto) -> Mapping[tuple[int, ...], str]:
    """Return the comments of a file by the paths of what they are about, see ``SourceCodeInfo.Location``."""
    locations = file.source_code_info.location
    return {tuple(each.path): _text(each.leading_comments or each.trailing_comments) for each in locations}


def _text(comment: Any) -> str:
    # protoc takes files in other encodings; protobuf gives what is no UTF-8 as bytes.
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
