"""Lists of many messages, rows, to JSON: a column at a time.

Protobuf merges the messages of a field that is no list, and appends to fields that are lists. So the payload of many
rows, read as one row whose fields are lists, are columns: each is read and written in a few steps, however long it is.
Every row has the field whose column is as long as there are rows; of others, the rows are asked which have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter, methodcaller
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from flask_grpcweb_scm.rpc.json_codec.encoder import Encoders
from flask_grpcweb_scm.rpc.json_codec.fields import (
    Convert,
    is_map,
    is_repeated,
    is_usual,
    is_wrapper,
    scalar_to_json,
)
from flask_grpcweb_scm.rpc.json_codec.well_known import format_time

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]  # the extra "json" is not installed

__all__ = ["MANY", "Pages"]

MANY = 12
"""Rows from which on columns take less time than one row after the other."""

_PROTO = FieldDescriptorProto

Texts = tuple[list[str], str]
"""JSON of a field, of the rows that have it; and what is around each, which may be a quotation mark."""

Read = Callable[[Any, Any], Texts]
"""Takes the columns, and the rows."""


class Pages(dict[Any, Convert]):
    """Functions from messages to what ``orjson.dumps`` takes, by descriptor; made when they are needed.

    Only the outermost message has columns: they are read from its payload, and what is inside would be read again for
    every message that it is inside of.
    """

    def __init__(self, encoders: Encoders) -> None:
        super().__init__()
        self._encoders = encoders

    def __missing__(self, descriptor: Descriptor) -> Convert:
        convert = self[descriptor] = self._message(descriptor)
        return convert

    def _message(self, descriptor: Descriptor) -> Convert:
        lists = {field: _rows(field, self._encoders) for field in descriptor.fields if _has_rows(field)}
        if not lists or not is_usual(descriptor) or descriptor.file.package == "google.protobuf":
            return self._encoders[descriptor]
        return _page({field: (field.json_name, self._encoders.field(field)) for field in descriptor.fields}, lists)


def _has_rows(field: FieldDescriptor) -> bool:
    row = field.message_type
    if row is None or not is_repeated(field) or is_map(field):
        return False
    return is_usual(row) and not is_wrapper(row) and row.file.package != "google.protobuf"


def _page(
    fields: dict[FieldDescriptor, tuple[str, Convert | None]],
    lists: dict[FieldDescriptor, Callable[[Any, Any], Any]],
) -> Convert:
    def convert_page(message: Any) -> dict[str, Any]:
        values = {}
        for field, value in message.ListFields():
            name, convert = fields[field]
            rows = lists.get(field)
            item = rows(message, value) if rows is not None and len(value) >= MANY else None
            values[name] = item if item is not None else value if convert is None else convert(value)
        return values

    return convert_page


def _rows(field: FieldDescriptor, encoders: Encoders) -> Callable[[Any, Any], Any]:
    assert field.message_type is not None
    merged_class, columns_class = _page_class(field, columns=False), _page_class(field, columns=True)
    readers = {one.number: (_key(one), _reader(one, encoders), _is_there(one)) for one in field.message_type.fields}

    def write(message: Any, rows: Any) -> Any:
        """The JSON of the rows; None when they have something unknown, or nothing at all."""
        payload = message.SerializePartialToString()
        merged = merged_class.FromString(payload).rows  # type: ignore[attr-defined]
        fields = merged.ListFields()
        times = [value for one, value in fields if one.message_type is not None]
        # Columns would take an unknown text for a list of packed numbers.
        if any(map(len, map(UnknownFieldSet, (merged, *times)))):
            return None
        columns = columns_class.FromString(payload).rows  # type: ignore[attr-defined]
        pieces: list[tuple[str, list[str], str]] = []
        comma = ""
        for one, _ in fields:
            key, read, is_there = readers[one.number]
            texts, around = read(columns, rows)
            before = f"{comma}{key}{around}"
            if len(texts) != len(rows):
                # Until a column is full, commas come after what is there.
                after, each = around if comma else f"{around},", iter(texts)
                pieces.append(("", [f"{before}{next(each)}{after}" if is_there(row) else "" for row in rows], ""))
                continue
            comma = ","
            if pieces and texts[0] == texts[-1] and texts.count(texts[0]) == len(rows):
                pieces[-1] = (*pieces[-1][:2], f"{pieces[-1][2]}{before}{texts[0]}{around}")
            else:
                pieces.append((before, texts, around))
        return orjson.Fragment(_join(pieces, len(rows)) if comma else _join_without_commas(pieces)) if pieces else None

    return write


def _join(columns: list[tuple[str, list[str], str]], count: int) -> str:
    row, after = [], columns[-1][2] + "},{"
    for before, _, after_each in columns:
        row += [after + before, ""]
        after = after_each
    parts = row * count
    for number, (_, texts, _) in enumerate(columns):
        parts[2 * number + 1 :: len(row)] = texts
    parts[0] = "[{" + columns[0][0]
    return "".join(parts) + after + "}]"


def _join_without_commas(columns: list[tuple[str, list[str], str]]) -> str:
    rows = map("".join, zip(*(texts for _, texts, _ in columns), strict=True))
    return "[" + ",".join(f"{{{row[:-1]}}}" for row in rows) + "]"


# What may be told from columns


def _page_class(field: FieldDescriptor, *, columns: bool) -> type[Message]:
    """Return a class that reads the rows in the payload of a message as one row, of columns or of the last values."""
    assert field.message_type is not None
    file = FileDescriptorProto(name="page.proto", syntax="proto2")
    page, row, time = (file.message_type.add(name=name) for name in ("Page", "Row", "Time"))
    one_of_it, label = _PROTO.LABEL_OPTIONAL, _PROTO.LABEL_REPEATED if columns else _PROTO.LABEL_OPTIONAL
    page.field.add(name="rows", number=field.number, label=one_of_it, type=_PROTO.TYPE_MESSAGE, type_name=".Row")
    for one in Timestamp.DESCRIPTOR.fields:
        time.field.add(name=_name(one), number=one.number, label=label, type=_type(one))
    for one in field.message_type.fields:
        name, number = _name(one), one.number
        if _is_time(one):
            row.field.add(name=name, number=number, label=one_of_it, type=_PROTO.TYPE_MESSAGE, type_name=".Time")
        elif is_repeated(one) and one.message_type is None:
            row.field.add(name=name, number=number, label=_PROTO.LABEL_REPEATED, type=_type(one))
        else:
            row.field.add(name=name, number=number, label=label, type=_type(one))
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("Page"))


def _name(field: FieldDescriptor) -> str:
    return f"f{field.number}"


def _type(field: FieldDescriptor) -> Any:
    """Return a type with the same payloads that needs no other descriptors."""
    if field.message_type is not None:
        return _PROTO.TYPE_BYTES
    return field.type if field.enum_type is None else _PROTO.TYPE_INT32


def _is_time(field: FieldDescriptor) -> bool:
    row = field.message_type
    return row is not None and row.full_name == Timestamp.DESCRIPTOR.full_name and not is_repeated(field)


def _is_there(field: FieldDescriptor) -> Callable[[Any], object]:
    """The function that says which rows have a field."""
    if field.has_presence:
        return methodcaller("HasField", field.name)
    if field.cpp_type in {field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE} and not is_repeated(field):
        # -0.0 is there, and is false.
        return lambda row: any(one.number == field.number for one, _ in row.ListFields())
    return attrgetter(field.name)


# Columns to JSON


def _key(field: FieldDescriptor) -> str:
    return orjson.dumps(field.json_name).decode() + ":"


def _reader(field: FieldDescriptor, encoders: Encoders) -> Read:
    if is_repeated(field) or field.message_type is not None:
        each = _each(field, encoders)
        return _times(_name(field), each) if _is_time(field) else each
    if field.type == field.TYPE_STRING:
        return _strings(_name(field))
    if field.cpp_type in {field.CPPTYPE_INT64, field.CPPTYPE_UINT64}:
        return _scalars(_name(field), None, '"')
    convert = scalar_to_json(field)
    if field.enum_type is not None:
        return _enums(_name(field), convert or str, [value.number for value in field.enum_type.values])
    return _scalars(_name(field), convert, "")


def _each(field: FieldDescriptor, encoders: Encoders) -> Read:
    convert, get, is_there = encoders.field(field), attrgetter(field.name), _is_there(field)

    def read(columns: Any, rows: Any) -> Texts:
        values = (get(row) for row in rows if is_there(row))
        return [orjson.dumps(value if convert is None else convert(value)).decode() for value in values], ""

    return read


def _scalars(name: str, convert: Convert | None, around: str) -> Read:
    def read(columns: Any, rows: Any) -> Texts:
        values = getattr(columns, name)[:]
        # None of them has a comma.
        items = orjson.dumps(values if convert is None else list(map(convert, values)))
        return items[1:-1].decode().split(","), around

    return read


class _EnumTexts(dict[int, str]):
    def __init__(self, convert: Convert, numbers: Iterable[int]) -> None:
        super().__init__((number, orjson.dumps(convert(number)).decode()) for number in numbers)

    def __missing__(self, number: int) -> str:
        return str(number)


def _enums(name: str, convert: Convert, numbers: Iterable[int]) -> Read:
    text_of = _EnumTexts(convert, numbers).__getitem__
    return lambda columns, rows: (list(map(text_of, getattr(columns, name)[:])), "")


def _strings(name: str) -> Read:
    def read(columns: Any, rows: Any) -> Texts:
        texts = getattr(columns, name)[:]
        together = "".join(texts)
        if len(orjson.dumps(together)) == len(together.encode()) + 2:
            return texts, '"'  # nothing needs a backslash
        return [orjson.dumps(text).decode() for text in texts], ""

    return read


def _times(name: str, each: Read) -> Read:
    def read(columns: Any, rows: Any) -> Texts:
        times = getattr(columns, name)
        seconds, nanos = times.f1[:], times.f2[:] or [0] * len(rows)
        if not len(seconds) == len(nanos) == len(rows):
            return each(columns, rows)
        return list(map(format_time, seconds, nanos)), '"'

    return read
