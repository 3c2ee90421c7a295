"""Messages and statuses as text and as JSON."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import click
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.client.cli.fields import Field
from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.client.records import enum_name
from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.rpc.json_codec.fields import is_map, is_repeated
from flask_grpcweb_scm.wire import StatusCode

__all__ = [
    "JsonPrinter",
    "Printer",
    "TablePrinter",
    "detail_dict",
    "echo_error",
    "exit_code",
    "json_text",
    "message_dict",
    "safe_json",
]

FIRST_EXIT_CODE = 64
# An unknown type, bytes that are no such message, an instant that no calendar has, messages that are too deep.
_NO_JSON = (
    TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, DecodeError, json_format.Error
)  # fmt: skip
MAX_REASON = 200
GAP = "  "
# Controls, and marks that turn the direction of a text.
_CONTROLS = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def exit_code(code: StatusCode | int) -> int:
    """Return the exit code for a status: 0 for OK, else 64 plus the status, as in grpcurl; click uses 1 and 2."""
    return FIRST_EXIT_CODE + code if code else 0


def echo_error(error: CallError) -> None:
    """Print a status and its details to standard error."""
    click.echo(str(error), err=True)
    for detail in error.details:
        click.echo(f"  {safe_json(detail_dict(detail), indent=None)}", err=True)


def detail_dict(detail: Message) -> dict[str, Any]:
    """Convert a detail of an error for JSON; one of an unknown class has its bytes in base64."""
    packed = detail if isinstance(detail, AnyMessage) else AnyMessage()
    if packed is not detail:
        packed.Pack(detail)
    try:
        return json_format.MessageToDict(packed)
    except _NO_JSON:
        return {"@type": packed.type_url, "value": base64.b64encode(packed.value).decode()}


def message_dict(message: Message, *, defaults: bool = False) -> dict[str, Any]:
    """Convert a message for JSON.

    :param defaults: include fields without a value.
    :raises click.ClickException: when it has no JSON: an Any of an unknown type for example.
    """
    try:
        return json_format.MessageToDict(message, always_print_fields_with_no_presence=defaults)
    except _NO_JSON as error:
        text = f"the {message.DESCRIPTOR.full_name} cannot be written as JSON: {printable(str(error)[:MAX_REASON])}"
        raise click.ClickException(text) from None


def json_text(message: Message, *, indent: int | None = 2, defaults: bool = False) -> str:
    """Return a message as JSON; parameters and errors are those of :func:`message_dict`."""
    return safe_json(message_dict(message, defaults=defaults), indent=indent)


def safe_json(value: Any, *, indent: int | None = 2) -> str:
    """Return a value as JSON, with control characters of terminals escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # JSON itself escapes characters below the space.
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class Printer(Protocol):
    """Prints the responses of a call as they arrive."""

    def print(self, response: Message) -> None:
        """Print a response."""


class JsonPrinter:
    """Each response as an object with all of its fields."""

    def print(self, response: Message) -> None:
        """Print a response."""
        click.echo(json_text(response, defaults=True))


class TablePrinter:
    """Prints lists as rows, other responses as a field a line, and a stream as a row for each response.

    :param descriptor: of the responses.
    :param streaming: there may be many.
    :param paging: further pages follow without a token.
    """

    def __init__(self, descriptor: Descriptor, *, streaming: bool = False, paging: bool = False) -> None:
        self._own = _Table(descriptor) if streaming else None
        self._lists = [
            (field, _Table(field.message_type))
            for field in descriptor.fields
            if is_repeated(field) and field.message_type is not None and not is_map(field)
        ]
        hidden = {field.name for field, _ in self._lists} | ({"next_page_token"} if paging else set())
        self._others = [field for field in descriptor.fields if field.name not in hidden]

    def print(self, response: Message) -> None:
        """Print a response."""
        if self._own is not None:
            _echo(self._own.lines([response]))
            return
        for field, table in self._lists:
            if len(self._lists) > 1:
                click.echo(f"{field.name}:")
            _echo(table.lines(getattr(response, field.name)))
        pairs = [(field.name, _text(response, field)) for field in self._others]
        # Fields beside the rows, such as the token of the next page, matter only when they have a value.
        _echo(_pairs([pair for pair in pairs if pair[1] or not self._lists]))


class _Table:
    """Rows with as many columns as a message has fields, as wide as the first rows need."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._fields = list(descriptor.fields)
        self._widths: list[int] = []

    def lines(self, messages: Iterable[Message]) -> Iterator[str]:
        rows = [[printable(_text(message, field)) for field in self._fields] for message in messages]
        if not self._widths:
            rows.insert(0, [field.name.upper() for field in self._fields])
            self._widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, self._widths, strict=True))
            yield GAP.join(cells).rstrip()


def _pairs(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Print a name and its value a line; further lines of a value are indented."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        first, *others = value.split("\n") if value else [""]
        yield f"{name:{width}}{GAP}{printable(first)}".rstrip()
        yield from (f"{'':{width}}{GAP}{printable(line)}".rstrip() for line in others)


def _text(message: Message, field: Field) -> str:
    value = getattr(message, field.name)
    if is_map(field):
        return ", ".join(f"{key}={_scalar(entry)}" for key, entry in sorted(value.items()))
    if is_repeated(field):
        return ", ".join(_item(field, item) for item in value)
    if field.message_type is not None and not message.HasField(field.name):
        return ""
    return _item(field, value)


def _item(field: Field, value: Any) -> str:
    return enum_name(field.enum_type, value) if field.enum_type is not None else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, Timestamp):
        try:
            return value.ToJsonString()
        except _NO_JSON:
            return f"{value.seconds} s and {value.nanos} ns since 1970"
    if isinstance(value, Message):
        # A duration is a text in JSON.
        return json_text(value, indent=None).strip('"')
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _width(text: str) -> int:
    return len(text) + sum(unicodedata.east_asian_width(character) in {"W", "F"} for character in text)


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
