"""A Connect client of struct, base64 and json only: the tests do not read responses with the code under test."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from google.protobuf import json_format
from google.protobuf.message import Message

PROTO, JSON = "application/proto", "application/json"
STREAM_PROTO, STREAM_JSON = "application/connect+proto", "application/connect+json"


@dataclass
class Response:
    """A response taken apart."""

    http_status: int
    headers: dict[str, str]
    body: bytes
    payloads: list[bytes] = field(default_factory=list)
    error: dict[str, Any] | None = None
    trailers: dict[str, list[str]] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        """None for OK."""
        return None if self.error is None else self.error["code"]

    @property
    def message(self) -> str:
        return (self.error or {}).get("message", "")

    def messages(self, message_class: type[Message]) -> list[Any]:
        assert self.error is None, self.error
        if self.headers["content-type"].endswith("json"):
            return [json_format.Parse(payload, message_class()) for payload in self.payloads]
        return [message_class.FromString(payload) for payload in self.payloads]

    def only(self, message_class: type[Message]) -> Any:
        (message,) = self.messages(message_class)
        return message


def frame(payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("!BI", flags, len(payload)) + payload


def payload_of(message: Message, content_type: str) -> bytes:
    return json_format.MessageToJson(message).encode() if "json" in content_type else message.SerializeToString()


def body_of(*messages: Message, content_type: str) -> bytes:
    payloads = [payload_of(message, content_type) for message in messages]
    return b"".join(map(frame, payloads) if "connect+" in content_type else payloads)


def query_of(message: Message, encoding: str = "proto") -> str:
    if encoding == "json":
        return f"?connect=v1&encoding=json&message={quote(payload_of(message, JSON))}"
    text = base64.urlsafe_b64encode(payload_of(message, PROTO)).decode().rstrip("=")
    return f"?connect=v1&base64=1&encoding=proto&message={text}"


def read(http_status: int, headers: Any, body: bytes) -> Response:
    response = Response(http_status, {name.lower(): value for name, value in headers}, body)
    content_type = response.headers.get("content-type", "")
    if content_type.startswith("application/connect+"):
        assert http_status == 200
        *frames, (flags, end) = _frames(body)
        assert flags == 2, "the last frame is not the end of the stream"
        assert all(flags in (0, 1) for flags, _ in frames)
        response.payloads = [payload for _, payload in frames]
        response.error, response.trailers = json.loads(end).get("error"), json.loads(end).get("metadata", {})
    elif http_status == 200:
        response.payloads = [body]
    else:
        response.error = json.loads(body) if content_type == JSON else None
    if not response.trailers:
        pairs = response.headers.items()
        response.trailers = {name[8:]: [value] for name, value in pairs if name.startswith("trailer-")}
    return response


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        flags, length = struct.unpack("!BI", body[:5])
        assert len(body) >= 5 + length, "the body ends inside a frame"
        yield flags, body[5 : 5 + length]
        body = body[5 + length :]


def call(client: Any, path: str, *messages: Message, content_type: str = PROTO, **options: Any) -> Response:
    """Call a method with a Flask test client; `options` are those of ``client.post``."""
    headers = {"content-type": content_type, **options.pop("headers", {})}
    body = options.pop("data", None)
    if body is None:
        body = body_of(*messages, content_type=content_type)
    response = client.post(path, data=body, headers=headers, **options)
    return read(response.status_code, response.headers, response.data)


def get(client: Any, path: str, **options: Any) -> Response:
    response = client.get(path, **options)
    return read(response.status_code, response.headers, response.data)
