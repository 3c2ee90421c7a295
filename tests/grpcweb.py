"""A gRPC-Web client of struct and base64 only, so that the tests do not read answers with the code under test."""

from __future__ import annotations

import base64
import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

PROTO = "application/grpc-web+proto"
JSON = "application/grpc-web+json"
TEXT = "application/grpc-web-text"
TEXT_PROTO = "application/grpc-web-text+proto"
FOUR_CONTENT_TYPES = [PROTO, JSON, TEXT, TEXT_PROTO]

BOMB = gzip.compress(bytes(16 * 2**20), 1)
"""16 MiB, four times the limit. Quick to make: every process of a test run makes it."""


@dataclass
class Answer:
    """An HTTP answer taken apart."""

    http_status: int
    headers: dict[str, str]
    payloads: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> int:
        return int({**self.headers, **self.trailers}["grpc-status"])

    @property
    def message(self) -> str:
        return unquote({**self.headers, **self.trailers}.get("grpc-message", ""))

    def details(self, message_class: type[Message]) -> list[Any]:
        """The details of the status that are of this class."""
        text = {**self.headers, **self.trailers}.get("grpc-status-details-bin", "")
        status = Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))
        mine = [detail for detail in status.details if detail.Is(message_class.DESCRIPTOR)]
        return [message_class.FromString(detail.value) for detail in mine]

    def messages(self, message_class: type[Message]) -> list[Any]:
        if self.headers["content-type"].endswith("json"):
            return [json_format.Parse(payload, message_class()) for payload in self.payloads]
        return [message_class.FromString(payload) for payload in self.payloads]

    def only(self, message_class: type[Message]) -> Any:
        assert self.code == 0, f"grpc-status {self.code}: {self.message}"
        (message,) = self.messages(message_class)
        return message


def frame(payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("!BI", flags, len(payload)) + payload


def body_of(*messages: Message, content_type: str = PROTO) -> bytes:
    write = (lambda m: json_format.MessageToJson(m).encode()) if content_type.endswith("json") else _serialize
    body = b"".join(frame(write(message)) for message in messages)
    return base64.b64encode(body) if "-text" in content_type else body


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def read(http_status: int, headers: Any, body: bytes) -> Answer:
    answer = Answer(http_status, {name.lower(): value for name, value in headers}, body=body)
    if not answer.headers.get("content-type", "").startswith("application/grpc-web"):
        return answer
    if "-text" in answer.headers["content-type"]:
        body = b"".join(base64.b64decode(body[i : i + 4], validate=True) for i in range(0, len(body), 4))
    for flags, payload in frames(body):
        if flags == 0x80:
            answer.trailers = dict(line.split(": ", 1) for line in payload.decode().split("\r\n")[:-1])
        else:
            assert not answer.trailers, "a frame follows the trailers"
            answer.payloads.append(payload)
    return answer


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        flags, length = struct.unpack("!BI", body[:5])
        assert len(body) >= 5 + length, "the body ends inside a frame"
        yield flags, body[5 : 5 + length]
        body = body[5 + length :]


def call(client: Any, path: str, *messages: Message, content_type: str = PROTO, **options: Any) -> Answer:
    """Call a method with a Flask test client; `options` are those of ``client.post``."""
    headers = {"content-type": content_type, **options.pop("headers", {})}
    body = options.pop("data", None)
    if body is None:
        body = body_of(*messages, content_type=content_type)
    response = client.post(path, data=body, headers=headers, **options)
    return read(response.status_code, response.headers, response.data)
