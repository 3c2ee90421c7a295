"""JSON for messages of any type, as text: mostly good, sometimes odd."""

from __future__ import annotations

import functools
import json

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from flask_grpcweb_scm.rpc.json_codec.fields import is_map, is_repeated, map_entry

__all__ = ["DURATIONS", "EVERY_SCALAR", "MASKS", "ODD_DURATIONS", "ODD_MASKS", "ODD_TIMES", "TIMES", "payloads"]

Texts = st.SearchStrategy[str]

INTEGERS = [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 - 1, 2**32, 2**53 + 1]
INTEGERS += [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**39, 10**400]
# The last but one needs nine digits in 32 bits.
NUMBERS = ["-0", "1.0", "1e2", "-0.0", "1.5", "1e-50", "0.1", "3.4028234663852886e38", "3.4028235e38", "3.5e38"]
NUMBERS += ["1e-45", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1.00677895e27", "16777217"]
NOT_FINITE = ["NaN", "Infinity", "-Infinity"]
TEXTS = ["", "a", "ü😈", "a b", "\\ud83d\\ude08", "\\u0000\\n"]
ODD_TEXTS = ["\\ud800", "\\ude08\\ud83d", " 1", "1 ", "1_0", "٣", "1.0", "-0", "007", "1e2", "1.5", "nan", "inf"]
ODD_TEXTS += ["true", "+1", "0x1"]
BYTES = ["", "AA==", "AA", "_-8", "/+8=", "AAA="]
ODD_BYTES = ["A A=", "A", "*", "_/", "AA=A", "AA==AA", "ü", "\\ud800"]
ENUMS = ['"COLOUR_RED"', '"COLOUR_CRIMSON"', '"COLOUR_NEGATIVE"', '"lower_case"', "0", "1", "-1", "5", "99"]
ODD_ENUMS = ['"LOWER_CASE"', '"COLOUR_NEW"', '"5"', "1.0", "2147483648", '"CLOSED_ONE"', '"NULL_VALUE"']
TIMES = [
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.9Z",
    "2025-02-28T23:59:59.5Z",
    "2025-02-28T23:59:59.000000001Z",
    "2025-01-01T00:00:00.12Z",
    "2025-01-01T10:00:00+02:00",
    "9999-12-31T23:59:59.999999999Z",
    "0001-01-01T00:00:00Z",
]
ODD_TIMES = [
    "2025-02-29T00:00:00Z",
    "2025-01-01T24:00:00Z",
    "2025-01-01T00:00:60Z",
    "2025-1-1T0:0:0Z",
    "2025-01-01T00:00:00.Z",
    "2025-01-01T00:00:00",
    "2025-01-01T00:00:00z",
    "2025-01-01T00:00:00.1234567890Z",
    "٢٠٢٥-01-01T00:00:00Z",
    "2025-01-01T00:00:00Z\\n",
    "2025-01-01T00:00:00-00:30",
    "2025-W01-1T00:00:00Z",
    "20250101T000000Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "2025-01-01T00:00:00,5Z",
    "2025-01-01t00:00:00Z",
]
DURATIONS = ["1s", "-1.5s", "0s", "0.000000001s", "-0.5s", "315576000000s"]
ODD_DURATIONS = ["315576000001s", "1", "1.0000000001s", "s", "1S", "1.s", ".5s"]
MASKS = ["", "a", "a,bC", "fooBar.bazQux"]
ODD_MASKS = ["a_b", "A", "a,,b"]
ANYS = [
    "{}",
    '{"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "1970-01-01T00:00:00Z"}',
    '{"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}',
    '{"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": [1, null]}}',
    '{"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "7"}',
    '{"@type": "x/tests.every_field.v1.Scalars", "int64Value": "7", "bytesValue": "AA"}',
    '{"int32Value": 7, "@type": "x/tests.every_field.v1.Scalars", "later": []}',
    '{"@type": "x/google.protobuf.Any", "value": {"@type": "x/tests.old_fields.v1.Plain", "text": "a"}}',
]
ODD_ANYS = [
    '{"@type": "x/tests.unknown.v1.Message"}',
    '{"@type": "x/tests.every_field.v1.Scalars", "int32Value": "a"}',
    '{"@type": "type.googleapis.com/google.protobuf.Timestamp"}',
    '{"@type": null}',
    '{"value": 1}',
]


def _texts(texts: list[str]) -> Texts:
    return st.sampled_from(texts).map(_quote)


def _quote(text: str) -> str:
    return '"' + text + '"'


def _mostly(good: Texts, odd: Texts) -> Texts:
    return st.sampled_from(range(40)).flatmap(lambda number: odd if number == 39 else good)


def _list(items: Texts) -> Texts:
    return st.lists(items, max_size=3).map(lambda texts: f"[{', '.join(texts)}]")


def _object(pairs: st.SearchStrategy[tuple[str, str]], *, size: int) -> Texts:
    unique = st.lists(pairs, max_size=size, unique_by=lambda pair: pair[0])
    return _mostly(unique.map(_braces), st.lists(pairs, max_size=size).map(_braces))


def _braces(pairs: list[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"


ANY_TEXT = _mostly(_texts(TEXTS + NOT_FINITE) | st.text(max_size=5).map(json.dumps), _texts(ODD_TEXTS))
INTEGER = st.integers(0, 9).map(str) | st.integers(-(2**31), 2**31 - 1).map(str)
SCALAR = st.sampled_from(["null", "true", "false", *map(str, INTEGERS), *NUMBERS]) | INTEGER | ANY_TEXT
JSON = st.recursive(SCALAR, lambda inner: _list(inner) | _object(st.tuples(ANY_TEXT, inner), size=3), max_leaves=6)
SCALARS: dict[int, Texts] = {
    FieldDescriptor.CPPTYPE_INT32: INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1).map(str),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1).map(str),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1).map(str),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32).filter(lambda number: number - number == 0).map(repr) | INTEGER,
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats().filter(lambda number: number - number == 0).map(repr) | INTEGER,
    FieldDescriptor.CPPTYPE_BOOL: st.sampled_from(["true", "false"]),
    FieldDescriptor.CPPTYPE_ENUM: _mostly(st.sampled_from(ENUMS), st.sampled_from(ODD_ENUMS)),
    FieldDescriptor.CPPTYPE_STRING: ANY_TEXT,
}
OF_PROTOBUF: dict[str, Texts] = {
    "Any": _mostly(st.sampled_from(ANYS), st.sampled_from(ODD_ANYS)),
    "Duration": _mostly(_texts(DURATIONS), _texts(ODD_DURATIONS)),
    "FieldMask": _mostly(_texts(MASKS), _texts(ODD_MASKS)),
    "ListValue": _list(JSON),
    "Struct": _object(st.tuples(ANY_TEXT, JSON), size=3),
    "Timestamp": _mostly(_texts(TIMES), _texts(ODD_TIMES)),
    "Value": JSON,
}
UNKNOWN = st.tuples(_texts(["later", "@type", "", "[a.b]", "[tests.old_fields.v1.extra]", "[0]-"]), JSON)


EVERY_SCALAR = [
    *("true", "false", "[]", "{}", "[1]", *map(str, INTEGERS), *NUMBERS, *ENUMS, *ODD_ENUMS),
    *map(_quote, [*map(str, INTEGERS), *NUMBERS, *TEXTS, *ODD_TEXTS, *BYTES, *ODD_BYTES]),
]


def payloads(descriptor: Descriptor) -> Texts:
    return _mostly(_message(descriptor), JSON)


@functools.cache
def _message(descriptor: Descriptor) -> Texts:
    if descriptor.file.name == "google/protobuf/wrappers.proto":
        return _single(descriptor.fields_by_name["value"])
    if descriptor.file.package == "google.protobuf" and descriptor.name in OF_PROTOBUF:
        return OF_PROTOBUF[descriptor.name]
    return _object(st.one_of(*map(_pair, descriptor.fields), UNKNOWN), size=6)


def _pair(field: FieldDescriptor) -> st.SearchStrategy[tuple[str, str]]:
    names = st.sampled_from([field.json_name, field.json_name, field.json_name, field.name])
    return st.tuples(names.map(json.dumps), _mostly(_value(field), JSON))


def _value(field: FieldDescriptor) -> Texts:
    if is_map(field):
        key, value = map_entry(field)
        keys = _single(key).map(lambda text: text if text.startswith('"') else _quote(text))
        return _object(st.tuples(keys, _single(value)), size=3)
    return _list(_single(field)) if is_repeated(field) else _single(field)


def _single(field: FieldDescriptor) -> Texts:
    if field.message_type is not None:
        # Deferred: a message may be inside of itself.
        return st.deferred(lambda: _message(field.message_type))
    if field.type == field.TYPE_BYTES:
        return _mostly(_texts(BYTES), _texts(ODD_BYTES))
    good = SCALARS[field.cpp_type]
    if field.cpp_type in _WITH_TEXTS:
        good |= good.map(_quote)
    if field.cpp_type in _FLOATS:
        good |= _texts(NOT_FINITE)
    return _mostly(good, SCALAR)


_FLOATS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
_WITH_TEXTS = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_INT32}
