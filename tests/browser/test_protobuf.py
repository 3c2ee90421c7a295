"""The console's own encoding of messages means what protobuf's does, in both directions."""

from __future__ import annotations

import base64
import difflib
import json
import random
import shutil
import subprocess
from typing import Any

import pytest
from google.protobuf import any_pb2, json_format, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from flask_grpcweb_scm import Service
from flask_grpcweb_scm.console import FILES
from flask_grpcweb_scm.console.schema import schema_of
from flask_grpcweb_scm.rpc.json_codec.fields import is_map, is_repeated, map_entry
from flask_grpcweb_scm.services import Descriptors
from tests import every_field_pb2
from tests.browser.build import HERE

pytestmark = pytest.mark.needs("browser")

if shutil.which("node") is None:
    pytest.skip("node is not installed: apt-get install nodejs npm", allow_module_level=True)

MANY = 1500
NAMES = ["", "a", "it's", "größer 🐈\u2028", "__proto__", "constructor", "toString", "9007199254740993", "null", "\x00"]
NUMBERS = [0.0, -0.0, 1.0, -1.5, 0.1, 1e300, 5e-324, 1e21, 123456789012345680.0, 2.0**53]
ODD_NUMBERS = [float("nan"), float("inf"), float("-inf")]
BITS = {"INT32": 32, "SINT32": 32, "SFIXED32": 32, "INT64": 64, "SINT64": 64, "SFIXED64": 64}
UNSIGNED = {"UINT32": 32, "FIXED32": 32, "UINT64": 64, "FIXED64": 64}
TYPES = {getattr(FieldDescriptor, f"TYPE_{name}"): name for name in (*BITS, *UNSIGNED)}


def scalar(field: FieldDescriptor, chance: random.Random) -> Any:
    if field.type in TYPES:
        name = TYPES[field.type]
        low = -(1 << (BITS[name] - 1)) if name in BITS else 0
        high = (1 << (BITS[name] - 1)) - 1 if name in BITS else (1 << UNSIGNED[name]) - 1
        return chance.choice([low, high, 0, 1, min(high, 2**53 + 1), chance.randint(low, high)])
    if field.enum_type is not None:
        if field.enum_type.full_name == "google.protobuf.NullValue":
            return 0
        # A closed enum has no number that is in no name.
        others = [] if field.enum_type.is_closed else [7, -(2**31)]
        return chance.choice([each.number for each in field.enum_type.values] + others)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == FieldDescriptor.TYPE_STRING:
        return chance.choice(NAMES)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.randint(0, 5))
    return chance.choice(NUMBERS[:5] if field.type == FieldDescriptor.TYPE_FLOAT else NUMBERS + ODD_NUMBERS)


def fill(message: Message, chance: random.Random, depth: int = 0) -> None:
    """Set some of the fields of a message, as JSON can say them."""
    match message:
        case any_pb2.Any():
            inner = chance.choice([every_field_pb2.Optionals(), every_field_pb2.Lists()])
            fill(inner, chance, depth + 1)
            message.Pack(inner)
            return
        case struct_pb2.Value():
            kinds = ["null", "text", "number", "bool", "list"] if depth < 5 else ["null"]
            json_format.ParseDict(json_value(chance.choice(kinds), chance), message)
            return
    kind = message.DESCRIPTOR.full_name.removeprefix("google.protobuf.")
    if kind == "Timestamp":
        seconds = chance.choice([-62135596800, 253402300799, 0, -1, chance.randint(-62135596800, 253402300799)])
        message.seconds, message.nanos = seconds, chance.choice([0, 1, 999_999_999, 500_000_000, 1000])  # type: ignore[attr-defined]
        return
    if kind == "Duration":
        sign, seconds = chance.choice([1, -1]), chance.choice([0, 1, 315_576_000_000])
        message.seconds, message.nanos = sign * seconds, sign * chance.choice([0, 1, 500_000_000])  # type: ignore[attr-defined]
        return
    if kind == "FieldMask":
        message.paths.extend(chance.sample(["a", "b_c", "d_e.f_g_h", "i2"], chance.randint(0, 3)))  # type: ignore[attr-defined]
        return
    for field in message.DESCRIPTOR.fields:
        if not field.is_required and chance.random() < (0.5 if depth < 3 else 0.85):
            continue
        fill_field(message, field, chance, depth)


def fill_field(message: Message, field: Any, chance: random.Random, depth: int) -> None:
    values = getattr(message, field.name)
    if is_map(field):
        key, value = map_entry(field)
        for _ in range(chance.randint(0, 3)):
            name = scalar(key, chance)
            if value.message_type is None:
                values[name] = scalar(value, chance)
            else:
                fill(values[name], chance, depth + 1)
    elif is_repeated(field):
        for _ in range(chance.randint(0, 3)):
            if field.message_type is None:
                values.append(scalar(field, chance))
            else:
                fill(values.add(), chance, depth + 1)
    elif field.message_type is None:
        setattr(message, field.name, scalar(field, chance))
    else:
        values.SetInParent()
        fill(values, chance, depth + 1)


def json_value(kind: str, chance: random.Random) -> Any:
    if kind == "list":
        return [json_value(chance.choice(["null", "text", "number", "bool"]), chance), {chance.choice(NAMES): [True]}]
    return {
        "null": None,
        "text": chance.choice(NAMES),
        "number": abs(chance.choice(NUMBERS)),
        "bool": chance.random() < 0.5,
    }[kind]


@pytest.fixture(scope="module")
def schema() -> Any:
    service = Service(every_field_pb2.DESCRIPTOR.services_by_name["Mirror"])
    return schema_of([service], Descriptors(services=[service]).file_set())


def test_it_is_that_of_protobuf(schema: Any) -> None:
    messages: list[Message] = []
    for seed in range(MANY):
        message = every_field_pb2.EveryField()
        fill(message, random.Random(seed))
        messages.append(message)
    assert differences(schema, messages) == []


WRONG = [
    ("ofProtobuf", "timestamp", '"2025-02-29T00:00:00Z"', "not a time"),
    ("ofProtobuf", "timestamp", '"0000-01-01T00:00:00Z"', "not a time"),
    ("ofProtobuf", "timestamp", '"9999-12-31T23:59:59-01:00"', "not a time"),
    ("ofProtobuf", "timestamp", "5", "not a time"),
    ("ofProtobuf", "duration", '"315576000001s"', "not a duration"),
    ("ofProtobuf", "fieldMask", "5", "not a text with paths"),
    ("ofProtobuf", "any", '{"@type": null}', "needs"),
    ("ofProtobuf", "any", '{"@type": "x/constructor"}', "not known here"),
    ("scalars", "doubleValue", "1e400", "too large"),
    ("scalars", "floatValue", "-3.5e38", "too large"),
    ("scalars", "floatValue", '"0x1"', "not a number"),
    ("scalars", "int64Value", '"0x1"', "not a whole number"),
    ("scalars", "int32Value", "[1]", "not a whole number"),
    ("scalars", "int32Value", "2147483648", "of type int32"),
    ("scalars", "enumValue", "2147483648", "not a value of"),
    ("scalars", "enumValue", "[1]", "not a value of"),
    ("maps", "bools", '{"constructor": true}', "not true or false"),
    ("oneOf", "number", '1, "text": "a"', "number is set, too"),
    ("tree", "__proto__", "{}", "no such field"),
]


@pytest.mark.parametrize(("message", "field", "value", "expected"), WRONG)
def test_what_protobuf_refuses_is_refused_with_its_place(
    schema: Any, message: str, field: str, value: str, expected: str
) -> None:
    text = f'{{"{message}": {{"{field}": {value}}}}}'
    with pytest.raises(json_format.ParseError):
        json_format.Parse(text, every_field_pb2.EveryField())
    [[_, encoded]] = through_console(schema, [["tests.every_field.v1.EveryField", "", text]])
    assert encoded["error"].startswith(f"Error: {message}.")
    assert expected in encoded["error"]


def through_console(schema: Any, rows: list[Any]) -> Any:
    command = ["node", str(HERE / "protobuf.mjs"), str(FILES["protobuf.js"])]
    given = json.dumps({"schema": schema, "messages": rows})
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def differences(schema: Any, messages: list[Message]) -> list[str]:
    rows = [
        [
            each.DESCRIPTOR.full_name,
            base64.b64encode(each.SerializeToString()).decode(),
            json_format.MessageToJson(each),
        ]
        for each in messages
    ]
    found = []
    for message, (text, encoded) in zip(messages, through_console(schema, rows), strict=True):
        if isinstance(text, dict) or isinstance(encoded, dict):
            found.append(f"{text} {encoded}"[:300])
            continue
        expected = message.SerializeToString(deterministic=True)
        decoded = json_format.Parse(text, type(message)())
        again = type(message).FromString(base64.b64decode(encoded))
        for way, result in (("decoded", decoded), ("encoded", again)):
            if result.SerializeToString(deterministic=True) != expected:
                found.append(f"{way}:\n{difference(str(message), str(result))}")
    return found


def difference(one: str, other: str) -> str:
    return "\n".join([*difflib.unified_diff(one.splitlines(), other.splitlines(), n=2, lineterm="")][:20])
