"""gRPC-Web bytes to values and back: no I/O, no Flask, no protobuf."""

from flask_grpcweb_scm.wire.compression import ENCODINGS, Encoding, choose_encoding, find_encoding
from flask_grpcweb_scm.wire.content_type import CONTENT_TYPES, ContentType, parse_content_type, response_content_type
from flask_grpcweb_scm.wire.decoding import decode_frames
from flask_grpcweb_scm.wire.frames import (
    COMPRESSED,
    PREFIX_BYTES,
    TRAILERS,
    Frame,
    FrameReader,
    decode_prefix,
    encode_frame,
    encode_prefix,
    encode_trailers,
    over_limit,
    parse_trailers,
)
from flask_grpcweb_scm.wire.headers import MAX_TIMEOUT, cached_by_headers, format_timeout, parse_timeout, sign
from flask_grpcweb_scm.wire.metadata import Metadata, decode_binary, encode_binary
from flask_grpcweb_scm.wire.status import (
    MAX_MESSAGE_HEADER_BYTES,
    RemoteProtocolError,
    StatusCode,
    decode_message,
    encode_message,
)
from flask_grpcweb_scm.wire.text import TextDecoder, decode_text, encode_text

__all__ = [
    "COMPRESSED",
    "CONTENT_TYPES",
    "ENCODINGS",
    "MAX_MESSAGE_HEADER_BYTES",
    "MAX_TIMEOUT",
    "PREFIX_BYTES",
    "TRAILERS",
    "ContentType",
    "Encoding",
    "Frame",
    "FrameReader",
    "Metadata",
    "RemoteProtocolError",
    "StatusCode",
    "TextDecoder",
    "cached_by_headers",
    "choose_encoding",
    "decode_binary",
    "decode_frames",
    "decode_message",
    "decode_prefix",
    "decode_text",
    "encode_binary",
    "encode_frame",
    "encode_message",
    "encode_prefix",
    "encode_text",
    "encode_trailers",
    "find_encoding",
    "format_timeout",
    "over_limit",
    "parse_content_type",
    "parse_timeout",
    "parse_trailers",
    "response_content_type",
    "sign",
]
