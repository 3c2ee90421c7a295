"""Directives of the documentation site: pages that are made from the code, so that they cannot differ from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib.resources import files

from docutils import nodes
from google.protobuf import descriptor_pb2
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from flask_grpcweb_scm.settings import Settings, fields_by_key

Comments = dict[tuple[int, ...], str]
KINDS = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in KINDS.Type.items()
    if number not in {KINDS.TYPE_MESSAGE, KINDS.TYPE_ENUM, KINDS.TYPE_GROUP}
}


class _Generated(SphinxDirective):
    """A directive whose content is made as Markdown."""

    def lines(self) -> Iterator[str]:
        """Make the lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """See :class:`docutils.parsers.rst.Directive`."""
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)


class Keys(_Generated):
    """Every configuration key, with what it means and its default."""

    def lines(self) -> Iterator[str]:
        """See :class:`_Generated`."""
        settings = Settings()
        for key, field in fields_by_key().items():
            default = getattr(settings, field.name)
            secret = field.metadata.get("secret")
            yield from (f"`{key}`", f": {field.metadata['meaning']}")
            if not secret and default not in ((), {}, "", None, frozenset()):
                shown = default if not dataclasses.is_dataclass(default) else ""
                yield f"  Default: `{shown!r}`."
            yield ""


class ProtoService(_Generated):
    """Every RPC of a service and every message of its file, with the comments of the proto."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """See :class:`_Generated`."""
        name = self.arguments[0]
        data = files("flask_grpcweb_scm.pb").joinpath(f"{name}.binpb").read_bytes()
        file = next(
            file
            for file in descriptor_pb2.FileDescriptorSet.FromString(data).file
            if file.name.endswith(f"{name}.proto")
        )
        comments = {
            tuple(location.path): location.leading_comments or location.trailing_comments
            for location in file.source_code_info.location
        }
        for index, service in enumerate(file.service):
            yield from (f"## {service.name}", "", *_text(comments.get((6, index), "")), "")
            for place, method in enumerate(service.method):
                kinds = ("stream " * method.client_streaming, "stream " * method.server_streaming)
                asked, given = (_link(kind) for kind in (method.input_type, method.output_type))
                yield from (f"### {method.name}", "", f"{kinds[0]}{asked} → {kinds[1]}{given}", "")
                yield from (*_text(comments.get((6, index, 2, place), "")), "")
        yield from ("## Messages", "")
        for index, message in enumerate(file.message_type):
            yield from _message(message, (4, index), comments)
        for index, enum in enumerate(file.enum_type):
            yield from _enum(enum, (5, index), comments)


def _message(
    message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], comments: Comments, outer: str = ""
) -> Iterator[str]:
    if message.options.map_entry:
        return
    yield from (f"### {outer}{message.name}", "", *_text(comments.get(path, "")), "")
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    for index, field in enumerate(message.field):
        kind = _kind(field)
        entry = entries.get(field.type_name.rpartition(".")[2])
        if entry is not None:
            kind = f"map of {_kind(entry.field[0])} to {_kind(entry.field[1])}"
        elif field.label == KINDS.LABEL_REPEATED:
            kind = f"repeated {kind}"
        elif field.proto3_optional:
            kind = f"optional {kind}"
        elif field.HasField("oneof_index"):
            kind = f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`"
        yield from (f"`{field.name}` = {field.number}, {kind}", f": {_line(comments.get((*path, 2, index), ''))}", "")
    for index, nested in enumerate(message.nested_type):
        yield from _message(nested, (*path, 3, index), comments, f"{outer}{message.name}.")
    for index, enum in enumerate(message.enum_type):
        yield from _enum(enum, (*path, 4, index), comments, f"{outer}{message.name}.")


def _enum(
    enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], comments: Comments, outer: str = ""
) -> Iterator[str]:
    yield from (f"### {outer}{enum.name}", "", *_text(comments.get(path, "")), "")
    for index, value in enumerate(enum.value):
        yield from (f"`{value.name}` = {value.number}", f": {_line(comments.get((*path, 2, index), ''))}", "")


def _kind(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return SCALARS.get(field.type) or _link(field.type_name)


def _link(name: str) -> str:
    if name.startswith(".google."):
        return f"`{name[1:]}`"
    # Names of packages have small letters.
    local = re.sub(r"^[.a-z0-9_]+\.(?=[A-Z])", "", name)
    return f"[{local}](#{local.replace('.', '').lower()})"


def _text(comment: str) -> list[str]:
    return [line.strip() for line in comment.strip().splitlines()]


def _line(comment: str) -> str:
    return " ".join(_text(comment)) or "\\"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("keys", Keys)
    app.add_directive("proto", ProtoService)
    return {"parallel_read_safe": True}
