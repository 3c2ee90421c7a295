"""JSON and protobuf through the whole app: every kind of field, deep messages, what a caller is told."""

from __future__ import annotations

import pytest
from flask import Flask
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm import CallContext, GrpcWebScm, Service
from tests.every_field_pb2 import DESCRIPTOR, EveryField, Maps, Scalars, Tree
from tests.grpcweb import FOUR_CONTENT_TYPES, JSON, PROTO, Answer, call, frame

REFLECT = "/tests.every_field.v1.Mirror/Reflect"


def mirror_app(**config: object) -> Flask:
    service = Service(DESCRIPTOR.services_by_name["Mirror"])

    @service.rpc("Reflect")
    def reflect(request: EveryField, context: CallContext) -> EveryField:
        return request

    app = Flask(__name__)
    app.testing = True
    app.config.update(config, GRPC_SCM=False)
    GrpcWebScm(app, services=[service])
    return app


def send(app: Flask, payload: str) -> Answer:
    return call(app.test_client(), REFLECT, content_type=JSON, data=frame(payload.encode()))


def nested(depth: int) -> str:
    """So many messages inside each other, in JSON."""
    return '{"tree": ' + '{"left": ' * (depth - 2) + "{}" + "}" * (depth - 1)


def nested_in_protobuf(depth: int) -> bytes:
    payload = b""
    for tag in [b"\x12"] * (depth - 2) + [b"\x4a"]:
        payload = tag + varint(len(payload)) + payload
    return payload


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
def test_every_field_comes_back(content_type: str) -> None:
    message = EveryField(
        scalars=Scalars(int64_value=-1, uint64_value=2**64 - 1, float_value=0.1, bytes_value=b"\xff", enum_value=77),
        maps=Maps(bools={True: False}, timestamps={"a": Timestamp(seconds=1, nanos=5)}),
        tree=Tree(branches=[Tree(name="ü")]),
    )
    answer = call(mirror_app().test_client(), REFLECT, message, content_type=content_type)
    assert answer.only(EveryField) == message


@pytest.mark.parametrize(("config", "limit"), [({}, 100), ({"GRPC_MAX_JSON_DEPTH": 5}, 5)])
def test_json_may_be_as_deep_as_the_app_says(config: dict[str, object], limit: int) -> None:
    app = mirror_app(**config)
    assert send(app, nested(limit)).code == 0
    answer = send(app, nested(limit + 1))
    assert answer.code == 13
    assert f"more than {limit} messages are inside each other" in answer.message


def test_what_is_too_deep_for_protobuf_can_be_read_and_written_in_json() -> None:
    answer = send(mirror_app(GRPC_MAX_JSON_DEPTH=150), nested(150))
    assert answer.code == 0
    assert (
        json_format.MessageToJson(EveryField.FromString(nested_in_protobuf(3)), indent=None) == '{"tree": {"left": {}}}'
    )
    assert answer.payloads[0].count(b"{") == 150


@pytest.mark.parametrize("depth", [102, 1_000, 100_000])
@pytest.mark.parametrize("content_type", [JSON, PROTO])
def test_deep_messages_are_refused(content_type: str, depth: int) -> None:
    client = mirror_app().test_client()
    payload = nested(depth).encode() if content_type == JSON else nested_in_protobuf(depth)
    answer = call(client, REFLECT, content_type=content_type, data=frame(payload))
    assert answer.code == 13
    assert "tests.every_field.v1.EveryField" in answer.message
    assert call(client, REFLECT, EveryField()).code == 0


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ('{"scalars": {"int32Value": "a"}}', "parse scalars field: Failed to parse int32Value field: invalid"),
        ('{"scalars": {"boolValue": 1}}', "without quotes at EveryField.scalars.boolValue"),
        ('{"lists": {"messages": [{}, {"boolValue": 1}]}}', "at EveryField.lists.messages[1].boolValue"),
        ('{"maps": {"bools": {"true": 1}}}', "at EveryField.maps.bools[True]"),
        ('{"ofProtobuf": {"timestamp": "tomorrow"}}', "EveryField.ofProtobuf.timestamp"),
        ('{"tree": {"name": "a", "name": "b"}}', "duplicate key name"),
        ('{"tree": {"name": "a"', "Expecting ',' delimiter"),
        ('{"scalars": {"int32Value": "' + "9" * 300 + '\\n"}}', ""),
    ],
)  # fmt: skip
def test_a_caller_is_told_what_is_wrong_and_where(payload: str, told: str) -> None:
    answer = send(mirror_app(), payload)
    assert answer.code == 13
    assert told in answer.message
    assert "\n" not in answer.message
    assert len(answer.message) < 300
