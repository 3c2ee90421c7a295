"""The compiled JSON codec means what json_format means, for everything that there is in messages."""

from __future__ import annotations

import gc
import json
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_grpcweb_scm.rpc.json_codec import WRITERS, JsonCodec
from tests.every_field_pb2 import EveryField, Lists, Maps, Names, Odd, OfProtobuf, OneOf, Optionals, Scalars, Tree
from tests.old_fields_pb2 import Old, Plain, extra
from tests.rpc.json_payloads import (
    DURATIONS,
    EVERY_SCALAR,
    MASKS,
    ODD_DURATIONS,
    ODD_MASKS,
    ODD_TIMES,
    TIMES,
    payloads,
)
from tests.tables import check_rows

CODECS = [JsonCodec(100, writer=writer) for writer in WRITERS]
MESSAGE_CLASSES = [EveryField, Scalars, Optionals, Lists, Maps, OneOf, OfProtobuf, Names, Odd, Tree, Old, Plain]


def parse(message_class: type[Message], payload: bytes) -> Message:
    """What the codec must do, by json_format."""
    if payload.lstrip()[:1] in {b"[", b'"'} and message_class.DESCRIPTOR.file.package != "google.protobuf":
        raise ValueError("it is not an object")
    return json_format.Parse(payload.decode(), message_class(), ignore_unknown_fields=True)


def print_(message: Message) -> bytes:
    """The same, the other way."""
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What is returned, or what is raised. Messages in protobuf, where NaN is NaN and -0.0 is not 0."""
    try:
        value = function(*arguments)
    except Exception as error:
        # Where in memory it happened is not the same.
        return type(error), re.sub("0x[0-9a-f]+", "", str(error))
    return value.SerializePartialToString(deterministic=True) if isinstance(value, Message) else value


def in_order(payload: Any) -> str:
    """JSON with the order of its keys, where NaN is NaN and -0.0 is not 0."""
    return repr(json.loads(payload, object_pairs_hook=list)) if isinstance(payload, bytes) else repr(payload)


def check_decoding(message_class: type[Message], payload: bytes) -> None:
    assert outcome(CODECS[0].decode, message_class, payload) == outcome(parse, message_class, payload)


def check_encoding(message: Message) -> None:
    expected = outcome(print_, message)
    assert outcome(CODECS[0].encode, message) == expected
    for codec in CODECS[1:]:
        assert in_order(outcome(codec.encode, message)) == in_order(expected)


def check(message_class: type[Message], payload: bytes) -> None:
    """Read a payload, and write what that gave."""
    check_decoding(message_class, payload)
    try:
        message = parse(message_class, payload)
    except (ValueError, json_format.ParseError):
        return
    check_encoding(message)


@pytest.mark.parametrize("message_class", MESSAGE_CLASSES, ids=lambda message_class: message_class.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_any_payload_means_what_it_does_to_json_format(message_class: type[Message], data: st.DataObject) -> None:
    check(message_class, data.draw(payloads(message_class.DESCRIPTOR)).encode())


@pytest.mark.parametrize(
    ("message_class", "texts"),
    [
        (Timestamp, TIMES + ODD_TIMES),
        (Duration, DURATIONS + ODD_DURATIONS),
        (FieldMask, MASKS + ODD_MASKS),
    ],
)
def test_messages_that_are_texts(message_class: type[Message], texts: list[str]) -> None:
    for text in texts:
        check(message_class, f'"{text}"'.encode())


@pytest.mark.parametrize("field", list(Scalars.DESCRIPTOR.fields), ids=lambda field: field.name)
def test_any_scalar_for_any_scalar(field: FieldDescriptor) -> None:
    for text in EVERY_SCALAR:
        check(Scalars, f'{{"{field.json_name}": {text}}}'.encode())


def test_what_is_rare() -> None:
    rows: list[tuple[type[Message], str]] = [
        # Objects
        *((EveryField, text) for text in ("null", "5", "[]", '""', '"scalars"', "{", "{} {}", " {} ", "\ufeff{}", "")),
        *((EveryField, f'{{"scalars": {text}}}') for text in ("null", "5", "[]", '""', '["int32Value"]', "{}", "true")),
        *((EveryField, f'{{"ofProtobuf": {{"empty": {text}}}}}') for text in ("null", "[]", "{}", '{"a": 1}')),
        # Names
        (Names, '{"snakeCase": "a"}'),
        (Names, '{"snake_case": "a"}'),
        (Names, '{"snakeCase": "a", "snake_case": "b"}'),
        (Names, '{"snake_case": "a", "snakeCase": null}'),
        (Names, '{"manyWordsHere": [1], "many_words_here": [2]}'),
        (Names, '{"innerNames": {"from": "a"}, "inner_names": {"self": "b"}}'),
        (Names, '{"camelCase": "a", "Leading": "b", "_leading": "c", "with2Digits": "d", "with_2_digits": "e"}'),
        (Names, '{"another name": "a", "renamed": null, "@type": "b", "None": "c"}'),
        (Names, '{"SnakeCase": "a", "later": {"later": [1e999, NaN]}, "": 1}'),
        (Names, '{"snakeCase": "a", "snakeCase": "a"}'),
        (Names, '{"later": {"a": 1, "a": 1}}'),
        (Names, '{"[a.b]": 1}'),
        (Names, '{"[a b]": 1}'),
        (Names, '{"\\ud800": 1}'),
        # null
        *((Scalars, f'{{"{name}": null}}') for name in Scalars.DESCRIPTOR.fields_by_name),
        *((Optionals, f'{{"{name}": null}}') for name in Optionals.DESCRIPTOR.fields_by_name),
        *((OneOf, f'{{"{name}": null}}') for name in OneOf.DESCRIPTOR.fields_by_name),
        *((Lists, f'{{"{name}": null}}') for name in Lists.DESCRIPTOR.fields_by_name),
        *((Lists, f'{{"{name}": [null]}}') for name in Lists.DESCRIPTOR.fields_by_name),
        *((Maps, f'{{"{name}": {{"1": null}}}}') for name in Maps.DESCRIPTOR.fields_by_name),
        *((OfProtobuf, f'{{"{name}": null}}') for name in OfProtobuf.DESCRIPTOR.fields_by_name),
        *((OfProtobuf, f'{{"{name}": [null]}}') for name in OfProtobuf.DESCRIPTOR.fields_by_name),
        *((Odd, text) for text in ('{"null": null}', '{"null": 0}', '{"nulls": [null]}', '{"nullMap": {"a": null}}')),
        (Odd, '{"null": "NULL_VALUE", "nulls": ["NULL_VALUE", 0], "nullMap": {"a": "NULL_VALUE"}}'),
        # oneof
        (OneOf, '{"number": 1, "text": "a"}'),
        (OneOf, '{"number": 0, "text": ""}'),
        (OneOf, '{"number": 1, "text": null}'),
        (OneOf, '{"number": null, "text": "a"}'),
        (OneOf, '{"number": 1, "value": null}'),
        (OneOf, '{"value": null, "number": 1}'),
        (OneOf, '{"empty": {}, "scalars": {}}'),
        (OneOf, '{"timeOfDay": "1970-01-01T00:00:00Z", "time_of_day": "1970-01-01T00:00:00Z"}'),
        (OneOf, '{"colour": "COLOUR_NEW", "number": 1}'),
        (OneOf, '{"number": 1, "alone": true, "beside": "a"}'),
        (Odd, '{"number": 1, "nullInOneof": null}'),
        (Odd, '{"nullInOneof": null, "number": 1}'),
        # Maps
        (Maps, '{"bools": {"true": true, "false": false}}'),
        (Maps, '{"bools": {"True": true}}'),
        (Maps, '{"int32s": {"1": 1, "01": 2}}'),
        (Maps, '{"sfixed32s": {"1": {"int32Value": 1}, "01": {"int64Value": 1}}}'),
        (Maps, '{"lists": {"1": {"int32s": [1]}, "01": {"int32s": [2]}}}'),
        (Maps, '{"uint32s": {"-1": 1}}'),
        (Maps, '{"uint64s": {"18446744073709551616": 1}}'),
        (Maps, '{"int32s": {"1.0": 1, "2e0": 2, " 3": 3}}'),
        (Maps, '{"strings": {"": "", "ü": "😈", "\\ud800": "a"}}'),
        (Maps, '{"fixed64s": {"1": "COLOUR_NEW", "2": "COLOUR_RED", "3": 9}}'),
        (Maps, '{"strings": [], "later": []}'),
        (Maps, '{"lists": []}'),
        (Maps, '{"strings": {"a": 1}}'),
        # Any
        (OfProtobuf, '{"any": {"@type": "x/tests.every_field.v1.Tree", "branches": [{"name": "a"}]}}'),
        (OfProtobuf, '{"any": {"@type": "/google.protobuf.Any", "value": {"@type": "/tests.old_fields.v1.Plain"}}}'),
        (OfProtobuf, '{"any": {"@type": "/google.protobuf.Value", "value": null}}'),
        (OfProtobuf, '{"any": []}'),
        # What proto3 has no more
        (Old, '{"number": 1, "closed": "CLOSED_TWO", "many": [1, "CLOSED_ONE"], "item": [{"text": "a"}]}'),
        (Old, '{"closed": 9}'),
        (Old, '{"many": ["CLOSED_NEW"]}'),
        (Old, '{"[tests.old_fields.v1.extra]": "a", "[tests.old_fields.v1.unknown]": 1}'),
        (EveryField, '{"old": {"number": 1, "closedMap": {"a": "CLOSED_TWO"}}}'),
    ]  # fmt: skip
    check_rows(lambda message_class, payload: check(message_class, payload.encode()), rows)


def test_messages_that_no_payload_makes() -> None:
    messages = [
        Scalars(),
        Scalars(double_value=-0.0, float_value=-0.0),
        Scalars(double_value=float("nan"), float_value=float("-inf")),
        *(Scalars(float_value=number) for number in (0.1, 16777217, 3.4028234663852886e38, 1e-45, 1.17549435e-38)),
        *(Scalars(double_value=number) for number in (0.1, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 123456789.125)),
        Scalars(uint64_value=2**64 - 1, int64_value=-(2**63), enum_value=-1),
        Scalars(enum_value=77, string_value="\x00\x1f\"\\/\u2028\x7f", bytes_value=b"\xff\xfe\x00"),
        Optionals(double_value=0, bool_value=False, string_value="", bytes_value=b"", enum_value=0, message_value={}),
        Maps(bools={True: False}, int32s={-1: float("inf")}, uint64s={2**64 - 1: 0}, fixed64s={7: 77}),
        Maps(values={"": struct_pb2.Value()}, strings={"\x00": ""}),
        OneOf(number=0),
        OneOf(empty={}),
        Names(snake_case="a", camelCase="b", _leading="c", renamed="d", in_brackets="e", many_words_here=[0]),
        Odd(null=0, nulls=[0, 0, 5], null_map={"a": 0}, null_in_oneof=0),
        Odd(names={"from": "a"}),
        # Times
        *(Timestamp(seconds=0, nanos=nanos) for nanos in (0, 1, 1_000, 1_000_000, 120_000_000, 999_999_999)),
        *(Timestamp(seconds=seconds) for seconds in (-1, -62135596800, 253402300799, 2**31, 951782400)),
        *(Timestamp(seconds=seconds) for seconds in (-62135596801, 253402300800, 2**63 - 1)),
        *(Timestamp(nanos=nanos) for nanos in (-1, 1_000_000_000)),
        *(Duration(seconds=seconds, nanos=nanos) for seconds, nanos in ((1, 5), (-1, -5), (1, -5), (315576000001, 0))),
        OfProtobuf(timestamps=[Timestamp(seconds=2**62)]),
        # Any JSON in a message
        *(struct_pb2.Value(number_value=number) for number in (float("nan"), float("-inf"), -0.0, 1.0, 1e300)),
        struct_pb2.Value(),
        struct_pb2.Value(struct_value={}),
        struct_pb2.Value(list_value={}),
        struct_pb2.ListValue(values=[struct_pb2.Value(), struct_pb2.Value(string_value="a")]),
        OfProtobuf(struct=struct_pb2.Struct(fields={"a": struct_pb2.Value()}), empty={}),
        # Any
        any_pb2.Any(),
        any_pb2.Any(type_url="x/tests.every_field.v1.Scalars", value=Scalars(int64_value=1).SerializeToString()),
        any_pb2.Any(type_url="x/tests.every_field.v1.Scalars", value=b"\xff"),
        any_pb2.Any(type_url="x/tests.unknown.v1.Message"),
        any_pb2.Any(value=b"\x08\x01"),
        OfProtobuf(anys=[any_pb2.Any(type_url="x/google.protobuf.Timestamp")]),
        # Fields that the class does not know
        Scalars.FromString(b"\xfa\x3f\x01a" + Scalars(int32_value=1).SerializeToString()),
        # What proto3 has no more
        Old(number=1, closed=Old.CLOSED_ONE, many=[2, 1], closed_map={"a": 2}),
        Old.FromString(b"\x08\x01\x10\x09"),
        Plain(text="", number=7, inner=[Plain()]),
        EveryField(old=Old(), one_of=OneOf(flag={})),
    ]  # fmt: skip
    check_rows(check_encoding, ((message,) for message in messages))


def test_extensions() -> None:
    message = Old(number=1)
    message.Extensions[extra] = "a"
    check_encoding(message)
    check_encoding(EveryField(old=message))


USUAL = [
    Scalars(int64_value=1, float_value=0.5, string_value="a", bytes_value=b"a", enum_value=1),
    Optionals(message_value=Scalars(), bool_value=False),
    Maps(bools={True: True}, sfixed32s={1: Scalars(int32_value=1)}, timestamps={"a": Timestamp(seconds=1)}),
    OneOf(colour=1),
    OfProtobuf(timestamp=Timestamp(nanos=1), duration=Duration(seconds=1), string_wrapper={"value": "a"}),
    OfProtobuf(struct=struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=1)}), empty={}),
    Tree(left=Tree(name="a"), branches=[Tree()], named={"b": Tree()}),
    Plain(text="a", inner=[Plain(number=1)]),
]


@pytest.mark.parametrize("message", USUAL, ids=repr)
def test_what_is_usual_needs_no_json_format(message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = print_(message)
    for name in ("MessageToDict", "MessageToJson", "Parse", "ParseDict"):
        monkeypatch.delattr(json_format, name)
    codec = JsonCodec(100)
    assert codec.decode(type(message), codec.encode(message)) == message
    assert codec.decode(type(message), payload) == message


# Depth


def nested_tree(depth: int) -> bytes:
    return b'{"left": ' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize("depth", [1, 2, 5, 100, 150])
def test_messages_may_be_so_many_inside_each_other(depth: int) -> None:
    codec = JsonCodec(depth)
    assert isinstance(codec.decode(Tree, nested_tree(depth)), Tree)
    with pytest.raises(json_format.ParseError, match=f"too deep. Max recursion depth is {depth}"):
        codec.decode(Tree, nested_tree(depth + 1))


@pytest.mark.parametrize(
    ("message_class", "payload"),
    [
        *((Tree, '{"left": ' * count + f'{{"value": {value}}}' + "}" * count)
          for count in (96, 97, 98, 99) for value in ("null", "1", "{}", '{"a": 1}', "[1]", "[[]]")),
        *((Tree, '{"branches": [' * count + '{"name": "a"}' + "]}" * count) for count in (98, 99, 100)),
        *((Tree, '{"named": {"a": ' * count + '{"name": "a"}' + "}}" * count) for count in (98, 99, 100)),
        *((struct_pb2.Value, '{"a": ' * count + "1" + "}" * count) for count in (48, 49, 50, 51)),
        *((struct_pb2.Value, "[" * count + "]" * count) for count in (48, 49, 50, 51)),
        (Tree, '{"later": ' * 400 + "1" + "}" * 400),
    ],
)  # fmt: skip
def test_depth_is_counted_as_json_format_does(message_class: type[Message], payload: str) -> None:
    try:
        expected = parse(message_class, payload.encode())
    except Exception:
        check_decoding(message_class, payload.encode())
    else:
        # Not in protobuf: of deep maps, protobuf 5 in pure Python would compute the size until the end of time.
        assert CODECS[0].decode(message_class, payload.encode()) == expected


@pytest.mark.parametrize("opening", [b'{"left": ', b'{"branches": [', b'{"value": [', b"["])
def test_no_depth_is_more_than_an_error(opening: bytes) -> None:
    with pytest.raises((json_format.ParseError, ValueError, RecursionError)):
        JsonCodec(10**9).decode(Tree, opening * 100_000)


# Compiling


def dynamic_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="dynamic.proto", package="tests.dynamic", syntax="proto3")
    message = file.message_type.add(name="Dynamic")
    message.field.add(name="text", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    message.field.add(
        name="inner", number=2, type="TYPE_MESSAGE", type_name=".tests.dynamic.Dynamic", label="LABEL_REPEATED"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.dynamic.Dynamic"))


def test_values_of_an_enum_may_have_another_name_in_json() -> None:
    options = pytest.importorskip("google.protobuf.json_enumvalue_options_pb2", reason="new in protobuf 7")
    file = descriptor_pb2.FileDescriptorProto(name="renamed.proto", package="tests.renamed", syntax="proto3")
    file.dependency.append(options.DESCRIPTOR.name)
    value = file.enum_type.add(name="Renamed").value.add(name="ZERO", number=0)
    value.options.Extensions[options.json].string = "nothing"
    file.message_type.add(name="Message").field.add(
        name="values", number=1, type="TYPE_ENUM", type_name=".tests.renamed.Renamed", label="LABEL_REPEATED"
    )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    message_class = message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName("tests.renamed.Message")
    )
    assert json.loads(CODECS[0].encode(message_class(values=[0]))) == {"values": ["nothing"]}
    check_encoding(message_class(values=[0, 1]))
    check_decoding(message_class, b'{"values": ["nothing", "ZERO", 0, 1]}')


def test_types_of_the_same_name_are_told_apart() -> None:
    codec = JsonCodec(100)
    for message_class in (dynamic_class(), dynamic_class()):
        message = codec.decode(message_class, b'{"inner": [{"text": "a"}]}')
        assert isinstance(message, message_class)
        assert json.loads(codec.encode(message)) == {"inner": [{"text": "a"}]}


def test_a_codec_keeps_its_message_types_no_longer_than_itself() -> None:
    codec = JsonCodec(100)
    message_class = dynamic_class()
    assert codec.decode(message_class, codec.encode(message_class())) == message_class()
    alive = weakref.ref(message_class)
    del codec, message_class
    gc.collect()
    assert alive() is None


def test_threads_may_meet_a_type_at_the_same_time() -> None:
    codec, barrier, results = JsonCodec(100), threading.Barrier(8), []

    def work() -> None:
        barrier.wait()
        results.append(codec.decode(EveryField, codec.encode(EveryField(tree=Tree(left=Tree(name="a"))))))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [EveryField(tree=Tree(left=Tree(name="a")))] * 8
