"""Payloads to messages and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.rpc import codecs
from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode
from tests.echo_pb2 import EchoRequest

CODECS = codecs()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.builds(EchoRequest, text=TEXTS, count=st.integers(-(2**31), 2**31 - 1), data=st.binary(max_size=20))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
FIELDS = st.sampled_from(["text", "count", "data", "later", "@type", ""])
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=8
)


def decode_or_refuse(name: str, payload: bytes) -> None:
    try:
        assert isinstance(CODECS[name].decode(EchoRequest, payload), EchoRequest)
    except RemoteProtocolError as error:
        assert error.code is StatusCode.INTERNAL
        assert "tests.echo.v1.EchoRequest" in error.message


@pytest.mark.parametrize("name", CODECS)
@given(message=MESSAGES)
def test_a_message_comes_back(name: str, message: EchoRequest) -> None:
    codec = CODECS[name]
    assert codec.decode(EchoRequest, codec.encode(message)) == message


@pytest.mark.parametrize("name", CODECS)
@given(payload=st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(name: str, payload: bytes) -> None:
    decode_or_refuse(name, payload)


@given(value=JSON_VALUES)
def test_arbitrary_json_raises_nothing_but_protocol_errors(value: Any) -> None:
    decode_or_refuse("json", json.dumps(value).encode())


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"{}", EchoRequest()),
        (b' {"text": "hi"} ', EchoRequest(text="hi")),
        ('{"text": "ü😈"}'.encode(), EchoRequest(text="ü😈")),
        (b'{"text": "\\u00fc"}', EchoRequest(text="ü")),
        (b'{"text": null}', EchoRequest()),
        (b'{"count": "7"}', EchoRequest(count=7)),
        (b'{"count": 7.0}', EchoRequest(count=7)),
        (b'{"data": "_-8"}', EchoRequest(data=b"\xff\xef")),
        (b'{"data": "/+8="}', EchoRequest(data=b"\xff\xef")),
        (b'{"later": {"a": [1]}}', EchoRequest()),
    ],
)
def test_json_is_read_as_protobuf_describes_it(payload: bytes, expected: EchoRequest) -> None:
    assert CODECS["json"].decode(EchoRequest, payload) == expected


@pytest.mark.parametrize(
    "payload",
    [
        *(b"null", b"5", b"true", b"NaN", b" [] ", b'""', b"\xef\xbb\xbf{}", b"{} {}", b"\0"),
        *(b'{"text": "\\ud800"}', b'{"text": ["a"]}', b'{"count": true}', b'{"count": 1.5}', b'{"count": 1e999}'),
        *(b'{"data": 5}', b'{"data": "a"}', b'{"data": {}}'),
    ],
)
def test_json_that_is_not_the_message_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"the payload is not a tests\.echo\.v1\.EchoRequest in JSON"):
        CODECS["json"].decode(EchoRequest, payload)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"[1]", struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)])),
        (b'"a"', wrappers_pb2.StringValue(value="a")),
        (b'"1970-01-01T00:00:05Z"', timestamp_pb2.Timestamp(seconds=5)),
    ],
)
def test_some_of_protobufs_own_messages_are_no_objects_in_json(payload: bytes, expected: Message) -> None:
    assert CODECS["json"].decode(type(expected), payload) == expected


def test_json_is_on_one_line_and_not_escaped() -> None:
    payload = CODECS["json"].encode(EchoRequest(text="ü", data=b"\xff"))
    # With orjson there are no spaces.
    assert payload.replace(b" ", b"") == '{"text":"ü","data":"/w=="}'.encode()


def test_a_refusal_quotes_little_of_the_payload() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        CODECS["json"].decode(EchoRequest, b'{"count": "' + b"9" * 10_000 + b'\\n"}')
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message
