"""Command line options for the fields of a message, and a message from their values."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.client.records import enum_name
from flask_grpcweb_scm.rpc.json_codec.fields import is_map, is_repeated

__all__ = ["Field", "field_options", "message_from", "parse_json", "parse_lines"]

_FLOATS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
_MISTAKES = (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError)
# The parameters of a command also have names of their own.
_PREFIX = "field_"
_FILE_PREFIX = "file_"
_EXAMPLES = {"Timestamp": " as 2026-01-31T12:00:00Z", "Duration": " as 86400s"}
_OF_LINES = {"stacktrace"}
"""Names of fields for texts of many lines, which are rather in a file."""

# The stubs declare most attributes of a FieldDescriptor as optional, whatever its type.
Field = Any


class JsonType(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A message as JSON; texts such as timestamps need no quotes."""

    name = "json"

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option, and check it against the message."""
        try:
            read = json.loads(value)
        except ValueError as error:
            if not _is_special(self._descriptor):
                self.fail(f"{value!r} is not JSON: {error}", param, ctx)
            read = value
        try:
            _read(GetMessageClass(self._descriptor), read)
        except _MISTAKES as error:
            name = self._descriptor.name
            self.fail(f"{value!r} is not a {name}{_EXAMPLES.get(name, '')}: {error}", param, ctx)
        return read


class EntryType(click.ParamType):  # type: ignore[type-arg]  # see above
    """One entry of a map: ``KEY=VALUE``."""

    name = "entry"

    def __init__(self, value_type: click.ParamType) -> None:  # type: ignore[type-arg]  # see above
        self._value_type = value_type

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Read the text of an option."""
        key, equals, text = value.partition("=")
        if not equals:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, self._value_type.convert(text, param, ctx)


class Base64Type(click.ParamType):  # type: ignore[type-arg]  # see above
    """Bytes in base64."""

    name = "base64"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the text of an option: json_format skips characters outside the alphabet."""
        try:
            base64.b64decode(value, validate=True)
        except ValueError as error:
            self.fail(f"{value!r} is not base64: {error}", param, ctx)
        return value


class EnumType(click.Choice):  # type: ignore[type-arg]  # see above
    """A value of an enum by its name without the prefix, in any case."""

    def __init__(self, field: Field) -> None:
        self._names = {enum_name(field.enum_type, value.number): value.name for value in field.enum_type.values}
        self._names.pop("", None)
        super().__init__(list(self._names), case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the full name."""
        return str(self._names[super().convert(value, param, ctx)])


def field_options(descriptor: Descriptor, comments: Mapping[str, str]) -> Iterator[click.Option]:
    """Make an option for each field: ``--page-size`` of ``page_size``; of a number ``group_id`` also ``--group``."""
    names = set(descriptor.fields_by_name)
    for field in descriptor.fields:
        flags = [_flag(field.name)]
        short = field.name.removesuffix("_id")
        if short not in names and _type(field) is click.INT:
            flags.append(_flag(short))
        yield _option(field, flags, comments.get(f"{descriptor.name}.{field.name}", ""))
        if field.name in _OF_LINES and _type(field) is click.STRING:
            file = click.File(encoding="utf-8", errors="replace")
            flag = f"{_flag(field.name)}-file"
            yield click.Option(
                [_FILE_PREFIX + field.name, flag],
                type=file,
                help=f"{_flag(field.name)} from a file; - for standard input.",
            )


def _option(field: Field, flags: list[str], help_text: str) -> click.Option:
    name = _PREFIX + field.name
    if is_map(field):
        value = field.message_type.fields_by_name["value"]
        return click.Option(
            [name, *flags],
            type=EntryType(_type(value)),
            multiple=True,
            metavar="KEY=VALUE",
            help=_repeatable(help_text),
        )
    if is_repeated(field):
        return click.Option(
            [name, *flags], type=_type(field), multiple=True, metavar=_metavar(field), help=_repeatable(help_text)
        )
    if field.type == FieldDescriptor.TYPE_BOOL:
        flags = [f"{flag}/--no-{flag[2:]}" for flag in flags]
        return click.Option([name, *flags], default=None, help=help_text)
    return click.Option([name, *flags], type=_type(field), metavar=_metavar(field), help=help_text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _repeatable(help_text: str) -> str:
    return f"{help_text} Can be repeated.".strip()


def _metavar(field: Field) -> str | None:
    return "JSON" if field.message_type is not None else None


def _type(field: Field) -> click.ParamType:  # type: ignore[type-arg]  # see above
    if field.message_type is not None:
        return JsonType(field.message_type)
    if field.enum_type is not None:
        return EnumType(field)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return click.BOOL
    if field.type == FieldDescriptor.TYPE_BYTES:
        return Base64Type()
    if field.type == FieldDescriptor.TYPE_STRING:
        return click.STRING
    return click.FLOAT if field.type in _FLOATS else click.INT


def message_from(message_class: type[Message], parameters: Mapping[str, Any], base: str | None = None) -> Message:
    """Build a message.

    :param parameters: of the command; those of :func:`field_options` that were given are used.
    :param base: the message as JSON, before that.
    :raises click.UsageError: for values that do not fit.
    """
    message = message_class() if base is None else parse_json(message_class, base)
    files = {
        name.removeprefix(_FILE_PREFIX): file for name, file in parameters.items() if name.startswith(_FILE_PREFIX)
    }
    given = {
        name.removeprefix(_PREFIX): value
        for name, value in parameters.items()
        if name.startswith(_PREFIX) and value is not None and value != ()
    }
    given.update({name: file.read() for name, file in files.items() if file is not None})
    fields = message_class.DESCRIPTOR.fields_by_name
    try:
        values = {name: _json_value(fields[name], value) for name, value in given.items()}
        parsed = json_format.ParseDict(values, message_class())
    except _MISTAKES as error:
        raise click.UsageError(str(error)) from None
    for name in given:
        message.ClearField(name)
    message.MergeFrom(parsed)
    return message


def _json_value(field: Field, value: Any) -> Any:
    if is_map(field):
        return dict(value)
    # Options that can be repeated have tuples, which older versions of protobuf do not accept as lists.
    return list(value) if is_repeated(field) else value


def parse_json(message_class: type[Message], text: str) -> Message:
    """Read a message from JSON; unknown fields are errors.

    :raises click.UsageError: for text that is not such a message.
    """
    try:
        return _read(message_class, json.loads(text))
    except _MISTAKES as error:
        raise click.UsageError(f"the request is not a {message_class.DESCRIPTOR.full_name}: {error}") from None


def parse_lines(message_class: type[Message], lines: Iterable[str]) -> Iterator[Message]:
    """Read a stream of messages, one a line."""
    return (parse_json(message_class, line) for line in lines if line.strip())


def _read(message_class: type[Message], value: Any) -> Message:
    # json_format reads a list or a text as an object of unknown fields.
    if not isinstance(value, dict) and not _is_special(message_class.DESCRIPTOR):
        raise ValueError("not an object")
    return json_format.ParseDict(value, message_class())


def _is_special(descriptor: Any) -> bool:
    """Test for a type of protobuf itself: in JSON such a message may be a text or a list."""
    return bool(descriptor.file.package == "google.protobuf")
