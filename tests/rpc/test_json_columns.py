"""Lists of many messages mean in JSON what json_format means, whatever some of the rows have and others have not."""

from __future__ import annotations

import math

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("orjson", reason="the extra json")

from flask_grpcweb_scm.rpc.json_codec import JsonCodec
from flask_grpcweb_scm.rpc.json_codec.columns import MANY
from tests.every_field_pb2 import EveryField, Lists, Names, OfProtobuf, OneOf, Optionals, Scalars, Tree
from tests.rpc.json_payloads import payloads
from tests.rpc.test_json_codec import MESSAGE_CLASSES, check_encoding
from tests.tables import check_rows


def page_class(row: type[Message]) -> type[Message]:
    """A class of messages with many of another, and something beside."""
    name = f"{row.DESCRIPTOR.name}Page"
    file = descriptor_pb2.FileDescriptorProto(name=f"tests/{name}.proto", package="tests.pages", syntax="proto3")
    file.dependency.append(row.DESCRIPTOR.file.name)
    message = file.message_type.add(name=name)
    message.field.add(name="before", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    for field, number in (("rows", 2), ("more_rows", 200)):
        one = message.field.add(name=field, number=number, type="TYPE_MESSAGE", label="LABEL_REPEATED")
        one.type_name = f".{row.DESCRIPTOR.full_name}"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tests.pages.{name}"))


PAGES = {row: page_class(row) for row in MESSAGE_CLASSES}


def check_page(rows: list[Message]) -> None:
    """Compare a page of so many rows, and of as many as columns need."""
    page_of = PAGES[type(rows[0])]
    check_encoding(page_of(rows=rows))
    check_encoding(page_of(before="a", rows=(rows * MANY)[: max(MANY, len(rows))], more_rows=rows))


@pytest.mark.parametrize("row_class", MESSAGE_CLASSES, ids=lambda row_class: row_class.__name__)
@settings(deadline=None)
@given(data=st.data())
@pytest.mark.needs("time")
def test_any_rows_mean_what_they_do_to_json_format(row_class: type[Message], data: st.DataObject) -> None:
    rows = []
    for payload in data.draw(st.lists(payloads(row_class.DESCRIPTOR), min_size=1, max_size=4)):
        try:
            rows.append(json_format.Parse(payload, row_class(), ignore_unknown_fields=True))
        except (ValueError, json_format.ParseError):
            rows.append(row_class())
    check_page(rows)


FULL = [
    Scalars(int32_value=1),
    Scalars(**{
        field.name: b"\x01" if field.type == field.TYPE_BYTES else "a" if field.type == field.TYPE_STRING else 1
        for field in Scalars.DESCRIPTOR.fields
    }),
    Optionals(double_value=0, bool_value=False, string_value="", bytes_value=b"", enum_value=0, message_value={}),
    OfProtobuf(timestamp=Timestamp(seconds=1, nanos=1), struct={}, wrappers=[{"value": 1}], texts=[{}]),
    Names(snake_case="a", renamed="%s", in_brackets="}", camelCase="a"),
]  # fmt: skip


@pytest.mark.needs("time")
def test_one_row_that_is_not_like_the_others() -> None:
    texts = ['"', "\\", "\n", "\x00", "\x7f", "ü", "😈", "\u2028", '","', '"},{"', "%", "{}", ""]
    numbers = [0.1, -0.0, 1e22, 1e-7, 5e-324, math.nan, math.inf, -math.inf]
    times = [{}, {"nanos": 1}, {"seconds": -1, "nanos": 999_000_000}, {"seconds": 253402300799}, {"seconds": 2**62}]
    odd: list[Message] = [
        *(Scalars(string_value=text) for text in texts),
        *(Scalars(int32_value=1, double_value=number, float_value=number) for number in numbers),
        *(Scalars(int64_value=number, sfixed64_value=number) for number in (-(2**63), 2**53 + 1, 2**63 - 1)),
        Scalars(uint64_value=2**64 - 1, fixed64_value=2**64 - 1, uint32_value=2**32 - 1, int32_value=-(2**31)),
        *(Scalars(enum_value=number) for number in (0, -1, 5, 77)),
        *(Optionals(enum_value=number, message_value={"int32_value": number}) for number in (0, -1, 77)),
        *(OfProtobuf(timestamp=time) for time in times),
        *(OneOf(**{kind: value}) for kind, value in (("number", 0), ("text", "a"), ("time_of_day", {}), ("flag", {}))),
        Lists(int32s=[1, 2], strings=["a"], messages=[{}]),
        Tree(name="a", left=Tree(), branches=[Tree(name="b")] * (MANY + 1), named={"c": Tree()}),
        EveryField(scalars={}, names={"from": "a"}),
    ]  # fmt: skip
    pages: list[list[Message]] = []
    for row in odd:
        others = [row, *(full for full in FULL if type(full) is type(row)), type(row)()]
        for other in others:
            pages += [[row, other], [other, row], [other] * MANY + [row], [row] * MANY + [other, row]]
    check_rows(check_page, ((page,) for page in pages))


@pytest.mark.parametrize("count", [0, 1, MANY - 1, MANY, MANY + 1, 500])
def test_any_number_of_rows(count: int) -> None:
    for full in FULL:
        check_encoding(PAGES[type(full)](rows=[full] * count))


def test_what_a_type_does_not_know_is_in_no_column() -> None:
    # Field 3 is an int32 in Scalars and a list in Lists: packed numbers, of as many rows as do without.
    packed = Scalars.FromString(Lists(int32s=[7, 8]).SerializeToString())
    without = Scalars(string_value="a")
    number = Scalars(int32_value=1)
    time = Timestamp.FromString(b"\x0a\x02\x01\x02")
    assert len(packed.SerializeToString()) > 2, "unknown fields are kept"
    check_rows(
        check_page,
        [
            ([packed, without],),
            ([without, packed],),
            ([packed, without, number],),
            ([Scalars.FromString(b"\x1a\x01\x07"), number],),
            ([Scalars.FromString(b"\xfa\x3f\x01a"), number],),
            ([OfProtobuf(timestamp=time), OfProtobuf(timestamp={})],),
        ],
    )


def test_a_list_of_itself_is_read_once() -> None:
    row = Tree(name="a")
    for _ in range(40):
        row = Tree(name="a", left=Tree(branches=[Tree(name="b")] * MANY), branches=[row] + [Tree(name="c")] * MANY)
    check_encoding(row)


def test_no_column_without_orjson() -> None:
    page = PAGES[Scalars](rows=[Scalars(int32_value=1)] * MANY)
    assert JsonCodec(100, writer="json").encode(page) == json_format.MessageToJson(page, indent=None).encode()


def test_rows_of_usual_types_need_no_json_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MessageToDict", "MessageToJson"):
        monkeypatch.delattr(json_format, name)
    codec = JsonCodec(100)
    for full in FULL:
        page = PAGES[type(full)](rows=[full, type(full)()] * MANY)
        assert codec.decode(type(page), codec.encode(page)) == page
