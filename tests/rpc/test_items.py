"""Counting the items of a payload before anything is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import codecs
from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode
from tests.echo_pb2 import EchoRequest
from tests.every_field_pb2 import EveryField, Lists, Maps, Scalars, Tree

LIMIT = 20
LIMITED = codecs(max_items=LIMIT)
FREE = codecs()

Derive = scm_pb2.DeriveCodeMappingsRequest
Create = scm_pb2.CreateExternalIssueRequest


def chain(depth: int) -> Tree:
    tree = Tree()
    for _ in range(depth):
        tree = Tree(left=tree)
    return tree


# Each with no more items than the limit, and with more of them.
PAYLOADS: dict[str, Any] = {
    "empty messages": (Derive, lambda count: b"\x2a\x00" * count),
    "empty texts": (Derive, lambda count: b"\x1a\x00" * count),
    "entries of a map": (Create, lambda count: b"".join(b"\x2a\x05\x0a\x01%c\x12\x00" % i for i in range(count))),
    "one entry again and again": (Create, lambda count: b"\x2a\x00" * count),
    "unknown fields": (EchoRequest, lambda count: b"\xfa\x7f\x00" * count),
    "unknown groups": (EchoRequest, lambda count: b"\x73\x74" * (count // 2)),
    "one field again and again": (EchoRequest, lambda count: b"\x10\x01" * count),
    "numbers of ten bytes": (EchoRequest, lambda count: b"\x10" + b"\x80" * 9 + b"\x01" + b"\x10\x01" * (count - 1)),
    "fixed numbers": (EchoRequest, lambda count: b"\x71" + b"\0" * 8 + b"\x75" + b"\0" * 4 + b"\x10\1" * (count - 2)),
    "messages inside": (EveryField, lambda count: EveryField(tree=Tree(branches=[Tree()] * (count - 1)))),
    "deep messages": (EveryField, lambda count: EveryField(tree=chain(count - 1))),
}


def proto_of(make: Any, count: int) -> bytes:
    made = make(count)
    return made.SerializeToString() if isinstance(made, Message) else bytes(made)


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_more_items_than_the_limit_are_refused(name: str, kind: Any) -> None:
    message_class, make = PAYLOADS[name]
    fits, exceeds = (kind(proto_of(make, count)) for count in (LIMIT, LIMIT + 2))
    assert LIMITED["proto"].decode(message_class, fits) == FREE["proto"].decode(message_class, fits)
    with pytest.raises(RemoteProtocolError, match=rf"{message_class.DESCRIPTOR.name} has more than {LIMIT} items") as e:
        LIMITED["proto"].decode(message_class, exceeds)
    assert e.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "message",
    [
        EchoRequest(text="\x1a\0" * 100, data=b"\x1a\0" * 100),
        EchoRequest(text='["",{},"' * 100),
        EchoRequest(text="\\" * 101 + '"\\",' * 50),
        EveryField(lists=Lists(int32s=range(15))),
        EveryField(maps=Maps(strings={"[,,,": "{{,\\"})),
        EveryField(scalars=Scalars(bytes_value=b"," * 50)),
    ],
)
def test_bytes_of_few_values_are_no_items(message: Message) -> None:
    for name, codec in LIMITED.items():
        assert codec.decode(type(message), FREE[name].encode(message)) == message


def test_a_packed_list_is_one_item_of_protobuf() -> None:
    message = EveryField(lists=Lists(int32s=range(LIMIT * 10)))
    assert LIMITED["proto"].decode(EveryField, message.SerializeToString()) == message


JSON_PAYLOADS: dict[str, Any] = {
    "empty messages": lambda count: {"frames": [{}] * (count // 2)},
    "empty texts": lambda count: {"stacktracePaths": [""] * count},
    "unknown values": lambda count: {"later": [0] * count},
    "unknown lists": lambda count: {"later": [[]] * (count // 2)},
    "unknown names": lambda count: {f'"{number}\\': "," for number in range(count // 2)},
}


@pytest.mark.parametrize("name", JSON_PAYLOADS)
@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
def test_more_values_of_json_than_the_limit_are_refused(name: str, separators: tuple[str, str]) -> None:
    payloads = [json.dumps(JSON_PAYLOADS[name](count), separators=separators).encode() for count in (LIMIT - 2, 24)]
    LIMITED["json"].decode(Derive, payloads[0])
    with pytest.raises(RemoteProtocolError, match=f"has more than {LIMIT} items; send fewer") as caught:
        LIMITED["json"].decode(Derive, payloads[1])
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "payload",
    [
        *(
            b"\x2a\x7f" * 3,
            b"\xff" * 99,
            b"\x2a\xff\xff\xff\xff\x0f" * 9,
            b"\x10" + b"\x80" * 99,
            b"\x0e" * 50,
            b"\0" * 50,
        ),
        *(b'"' * 99, b"[" * 10 + b'"' * 50, b'"a" ' * 50, b'{"a' * 6 + b"," * 99, b"\\" * 99, b"}" * 99),
    ],
)
@pytest.mark.parametrize("name", LIMITED)
def test_what_is_malformed_is_refused_in_the_words_of_the_parser(name: str, payload: bytes) -> None:
    texts = []
    for codec in (LIMITED[name], FREE[name]):
        with pytest.raises(RemoteProtocolError) as caught:
            codec.decode(Derive, payload)
        texts.append(caught.value.message)
    assert texts[0] == texts[1] or "items" in texts[0]


@pytest.mark.needs("time")
def test_a_request_of_millions_of_items_is_refused_by_default(scm_of_nobody: Any) -> None:
    many = 2_000_000
    assert scm_of_nobody("DeriveCodeMappings", b"\x2a\x00" * many) == 3
    assert scm_of_nobody("BatchGetCommitContext", b"\x1a\x00" * many) == 3
    assert scm_of_nobody("CreateExternalIssue", b"\x2a\x00" * many) == 3
    assert scm_of_nobody("DeriveCodeMappings", b'{"frames": [' + b"{}," * 1_000_000 + b"{}]}", "+json") == 3
    # What fits is counted by the function.
    message = Derive(frames=[scm_pb2.StackFrame()] * 100_000)
    assert scm_of_nobody("DeriveCodeMappings", message.SerializeToString()) == 3
    assert scm_of_nobody("DeriveCodeMappings", json_format.MessageToJson(message).encode(), "+json") == 3


@pytest.fixture
def scm_of_nobody() -> Any:
    from flask import Flask

    from flask_grpcweb_scm import GrpcWebScm
    from tests.grpcweb import call, frame

    app = Flask(__name__)
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    GrpcWebScm(app)
    client = app.test_client()

    def code(method: str, payload: bytes, suffix: str = "") -> int:
        path = f"/sentry.integrations.scm.v1.ScmService/{method}"
        return call(client, path, content_type=f"application/grpc-web{suffix}", data=frame(payload)).code

    return code
