"""Directives of the documentation site: pages that are made from the code, so that they cannot differ from it."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from types import ModuleType
from typing import Any

from docutils import nodes
from google.protobuf import descriptor_pb2
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from flask_grpcweb_scm.codegen import comments_of
from flask_grpcweb_scm.settings import Settings, fields_by_key

logger = logging.getLogger(__name__)

PACKAGE = "flask_grpcweb_scm"
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


SECTIONS = {
    "GRPC_SCM": "[Services](services.md#an-app), and where they are",
    "GRPC_REQUIRE_AUTH": "[Who may call](authentication.md)",
    "GRPC_CORS_ORIGINS": "[Pages of other origins](javascript.md)",
    "GRPC_RATE_LIMITS": "Calls and streams at a time",
    "GRPC_MAX_MESSAGE_BYTES": "Sizes",
    "GRPC_DEFAULT_TIMEOUT": "[Deadlines](metadata.md#deadlines)",
    "GRPC_COMPRESSION_MIN_BYTES": "Responses",
    "GRPC_METRICS_PATH": "[Observers](observability.md)",
    "GRPC_HEALTH": "[Health, reflection](health.md) and [the console](console.md)",
    "GRPC_PAGE_SIZE": "[ScmService](scm.md)",
    "GRPC_IGNORED_KEYS": "Keys of others",
}
"""The sections of the keys, each before its first."""


class Keys(_Generated):
    """Every configuration key, with what it means and its default; each has an anchor, its name in lower case."""

    def lines(self) -> Iterator[str]:
        """See :class:`_Generated`."""
        settings = Settings()
        fields = fields_by_key()
        for key in SECTIONS.keys() - fields.keys():
            logger.warning("%s is no key", key, location=self.get_location())
        for key, field in fields.items():
            if key in SECTIONS:
                yield from (f"## {SECTIONS[key]}", "")
            default = getattr(settings, field.name)
            yield from (f"({key.lower()})=", f"`{key}`", f": {field.metadata['meaning']}")
            if default not in ((), {}, "", None, frozenset()):
                yield from ("", f"  Default: `{default!r}`.")
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
        comments = comments_of(file)
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


class Public(SphinxDirective):
    """Public names of a module: those that follow its name, or else all of its ``__all__``."""

    required_arguments = 1
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """See :class:`docutils.parsers.rst.Directive`."""
        module = importlib.import_module(self.arguments[0])
        names = self.arguments[1].split() if len(self.arguments) > 1 else module.__all__
        lines = ["```{eval-rst}", *(line for name in names for line in self._entry(module, name)), "```"]
        return self.parse_text_to_nodes("\n".join(lines))

    def _entry(self, module: ModuleType, name: str) -> Iterator[str]:
        """Yield the lines of one name, as reStructuredText."""
        full_name, value = f"{module.__name__}.{name}", getattr(module, name)
        first = _public_names().setdefault(_identity(value, name), full_name)
        if first != full_name:
            yield from (f".. py:data:: {full_name}", "", f"   The same as :py:obj:`{first}`.", "")
        elif inspect.isclass(value):
            kind = "exception" if issubclass(value, BaseException) else "class"
            yield from (f".. auto{kind}:: {full_name}", *([] if hasattr(value, "__table__") else ["   :members:"]), "")
            yield from (f"   {line}" for line in _table(value))
        elif inspect.isroutine(value):
            yield from (f".. autofunction:: {full_name}", "")
        else:
            lines = _text_of(value, name)
            if not lines:
                logger.warning("%s has no docstring", full_name, location=self.get_location())
            yield from (f".. py:data:: {full_name}", "", *(f"   {line}" for line in lines), "")


def _identity(value: Any, name: str) -> object:
    # A proxy says that it is what it stands for, and small values may be one object.
    return value if inspect.isclass(value) or inspect.isroutine(value) else name


@functools.cache
def _public_names() -> dict[object, str]:
    """The full name of everything that has been described, by what it is."""
    return {}


def _text_of(value: Any, name: str) -> list[str]:
    """The docstring beneath the assignment of a public name, in the module that has it."""
    for module in [*sys.modules.values()]:
        if module.__name__.startswith(PACKAGE) and vars(module).get(name) is value:
            try:
                found = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", name))
            except PycodeError:
                continue
            if found:
                return list(found)
    # A fixture has that of its function.
    return (getattr(value, "__dict__", {}).get("__doc__") or "").splitlines()


def _table(model: Any) -> Iterator[str]:
    """Yield the columns of a model."""
    for column in getattr(getattr(model, "__table__", None), "columns", ()):
        keys = "".join(f", refers to ``{key.target_fullname}``" for key in column.foreign_keys)
        kind = f"{column.type}".lower() + " or NULL" * bool(column.nullable)
        text = " ".join(_text_of_attribute(model, column.key))
        yield from (f".. py:attribute:: {column.key}", "", f"   {kind}{keys}. {text}".rstrip(), "")


def _text_of_attribute(model: type, name: str) -> list[str]:
    return list(ModuleAnalyzer.for_module(model.__module__).find_attr_docs().get((model.__name__, name), []))


def resolve_by_definition(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Resolve a reference to where a public name is defined, as annotations have it, to where it is imported from."""
    if node.get("refdomain") != "py":
        return None
    module_name, _, name = node["reftarget"].rpartition(".")
    value = getattr(sys.modules.get(module_name), name, None)
    public = _public_names().get(_identity(value, name)) if value is not None else None
    if public is not None:
        return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)
    # Of a docstring; annotations have names that are not public.
    if "refwarn" in node and (value is None or (module_name.startswith(PACKAGE) and not inspect.ismodule(value))):
        logger.warning("%s is no public name", node["reftarget"], location=node)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("keys", Keys)
    app.add_directive("proto", ProtoService)
    app.add_directive("public", Public)
    app.connect("missing-reference", resolve_by_definition)
    return {"parallel_read_safe": False}
