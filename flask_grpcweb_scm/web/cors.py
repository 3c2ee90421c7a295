"""Cross-origin calls, by Flask-CORS; what it says of a request is remembered for those that are like it."""

from __future__ import annotations

import dataclasses
import logging
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from logging import DEBUG
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flask import Blueprint, Flask, Response
from werkzeug.datastructures import Headers

from flask_grpcweb_scm.configuration import ConfigError
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.web.flask_internals import is_of_flask_cors, visible_request
from flask_grpcweb_scm.web.response import GrpcWebResponse

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["NotedEnviron", "Permissions", "add_cors", "expose_headers", "is_logged"]

T = TypeVar("T")
Pairs = list[tuple[str, str]]
AfterRequest = Callable[[Response], Response]
Template = list["int | tuple[str, str]"]
"""Headers; those that are as they were by their position."""

MAX_REMEMBERED = 1000
MAX_KEY_CHARACTERS = 1000
MAX_NAMES = 60
"""Of headers that have been read. Most of what a response is remembered by is the caller's choice."""

_ALLOW = "access-control-allow-origin"
_EXPOSE = "access-control-expose-headers"
_OWN_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding")
_NOT_FOR_PAGES = {"vary", "x-accel-buffering", "set-cookie", "connection"}
_ALWAYS_READABLE = {
    "cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma",
}  # fmt: skip
# What decides which headers are added, but for the names of all others.
_DECIDING = {
    _ALLOW, _EXPOSE, "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
    "access-control-allow-private-network", "access-control-max-age", "vary",
}  # fmt: skip
_CONSTANTS = {str, int, float, bool, type(None), re.Pattern}
_name_of: Callable[[tuple[str, str]], str] = operator.itemgetter(0)
_package, _core, _extension = (logging.getLogger(f"flask_cors{name}") for name in ("", ".core", ".extension"))


def add_cors(blueprint: Blueprint, settings: Settings) -> None:
    """Let the pages of ``GRPC_CORS_ORIGINS`` call the blueprint and read every header of its responses.

    :raises ConfigError: when Flask-CORS is not installed.
    """
    try:
        from flask_cors import CORS
    except ImportError:
        raise ConfigError("GRPC_CORS_ORIGINS needs Flask-CORS: pip install 'flask_grpcweb_scm[cors]'") from None
    blueprint.after_request(_vary)
    CORS(
        blueprint,
        origins=list(settings.cors_origins),
        methods=["GET", "HEAD", "POST"] if "connect" in settings.protocols else ["POST"],
        supports_credentials=settings.cors_credentials,
        max_age=int(settings.cors_max_age),
    )


def _vary(response: Response) -> Response:
    # Also of responses to requests without an origin: a cache may keep them.
    response.vary.add("Origin")
    return response


def expose_headers(headers: Pairs) -> Pairs:
    """The headers of a response, all of which a page may read if it may read the response."""
    given = {name.lower(): value for name, value in headers}
    if _ALLOW not in given:
        return headers
    names = {name for name in given if not name.startswith("access-control-")} - _ALWAYS_READABLE - _NOT_FOR_PAGES
    exposed = given.pop(_EXPOSE, "").lower().replace(",", " ").split()
    value = ", ".join(sorted(names.union(exposed, _OWN_HEADERS)))
    return [*(pair for pair in headers if pair[0].lower() != _EXPOSE), ("Access-Control-Expose-Headers", value)]


class Permissions:
    """Headers that functions of ``after_request`` add, where all of them are of Flask-CORS or of this module.

    Flask-CORS is asked once for all requests that are the same to it: in their verb, their path, and every header that
    it has looked at so far.

    :param functions: in the order of their calls.
    :param exposes: whether every header may be read then, as by :func:`expose_headers`.
    """

    def __init__(self, app: Flask, functions: Sequence[AfterRequest], *, exposes: bool = True) -> None:
        self._app = app
        self._functions = functions
        self._exposes = exposes
        self._tails: _Memory[Pairs] = _Memory()
        """Headers that come behind those of responses, where nothing else changes."""
        self._templates: _Memory[Template] = _Memory()
        self._preflights: _Memory[tuple[str, Pairs]] = _Memory()

    @staticmethod
    def knows(function: object) -> bool:
        """Return whether it is one of those functions, and says the same for the same request."""
        return function is _vary or (is_of_flask_cors(function) and _is_constant(function))

    def added_to(self, headers: Pairs, environ: WSGIEnvironment) -> Pairs:
        """The headers of the response to a call, with those that are added for a page of another origin."""
        names, found = self._tails.found
        tail = found.get((*map(environ.get, names), *map(_name_of, headers)))
        return self._added_to(headers, environ) if tail is None else headers + tail

    def _added_to(self, headers: Pairs, environ: WSGIEnvironment) -> Pairs:
        noted = NotedEnviron(environ)
        key = [pair if pair[0].lower() in _DECIDING else pair[0] for pair in headers]
        template = self._templates.find(environ, key)
        if template is None:
            template = self._ask(headers, noted)
            count = len(headers)
            if template[:count] == [*range(count)] and all(isinstance(part, str) for part in key):
                self._tails.add(noted, key, template[count:])  # type: ignore[arg-type]
            else:
                self._templates.add(noted, key, template)
        return _filled(template, headers)

    def _ask(self, headers: Pairs, environ: NotedEnviron) -> Template:
        marked = [pair if pair[0].lower() in _DECIDING else (pair[0], str(index)) for index, pair in enumerate(headers)]
        response = Response()
        # Without the content type that it would have by itself.
        response.headers = Headers(marked)
        with visible_request(self._app, environ):
            environ.read.clear()
            for function in self._functions:
                response = function(response)
        given = [*response.headers]
        if self._exposes and "HTTP_ORIGIN" in environ:
            given = expose_headers(given)
        names = {name for name, _ in headers if name.lower() not in _DECIDING}
        return [int(pair[1]) if pair[0] in names else pair for pair in given]

    def after_request(self, response: Response, environ: WSGIEnvironment) -> Response:
        """Do what the functions do; they are not called for a response to a call, but to write their log."""
        if isinstance(response, GrpcWebResponse) and not is_logged():
            response.replace_headers(lambda headers: self.added_to(headers, environ))
        else:
            for function in self._functions:
                response = function(response)
        return response

    def preflight(self, environ: WSGIEnvironment) -> tuple[str, Pairs] | None:
        """Status and headers of the response to a preflight, as they were for one that is the same."""
        found = self._preflights.find(environ)
        return None if found is None else (found[0], [*found[1]])

    def remembering(self, environ: NotedEnviron, start_response: StartResponse) -> StartResponse:
        """Start the response to a preflight, and remember it."""

        def start(status: str, headers: Pairs, exc_info: OptExcInfo | None = None) -> Callable[[bytes], object]:
            # Flask-CORS writes of others to the log.
            if any(name == "Access-Control-Allow-Methods" for name, _ in headers):
                self._preflights.add(environ, [], (status, [*headers]))
            return start_response(status, headers, *([exc_info] if exc_info else []))

        return start


class NotedEnviron(dict[str, Any]):
    """A WSGI environment that notes which of its keys are read."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        super().__init__(environ)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Get a value."""
        self.read.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.read.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        """All keys."""
        self.read.update(super().keys())
        return super().keys()

    def values(self) -> Any:
        """All values."""
        self.read.update(super().keys())
        return super().values()

    def items(self) -> Any:
        """All keys with their values."""
        self.read.update(super().keys())
        return super().items()


_FIRST_NAMES = "REQUEST_METHOD", "PATH_INFO"


class _Memory(Generic[T]):
    """Values found for requests, by their verb, their path and the headers that somebody has read of any of them."""

    def __init__(self) -> None:
        self.found: tuple[tuple[str, ...], dict[tuple[object, ...], T]] = _FIRST_NAMES, {}
        """The keys of those headers, and the values; replaced at once."""

    def find(self, environ: WSGIEnvironment, others: Iterable[object] = ()) -> T | None:
        """The value of a request that is the same."""
        names, found = self.found
        return found.get(_key(environ, names, others))

    def add(self, environ: NotedEnviron, others: Iterable[object], value: T) -> None:
        """Remember the value of a request, of which all has been read that has decided about it.

        :param others: hashable values that have decided, too.
        """
        names, found = self.found
        read = {name for name in environ.read if name.startswith(("HTTP_", "CONTENT_"))}
        if not read.issubset(names):
            names = (*names, *sorted(read.difference(names)))
            if len(names) > MAX_NAMES:
                names = (*_FIRST_NAMES, *sorted(read))
            if len(names) > MAX_NAMES:
                return
            found = {}
            self.found = names, found
        key = _key(environ, names, others)
        if len(str(key)) > MAX_KEY_CHARACTERS:
            return
        if len(found) >= MAX_REMEMBERED:
            found.clear()
        found[key] = value


def _key(environ: WSGIEnvironment, names: tuple[str, ...], others: Iterable[object]) -> tuple[object, ...]:
    return *map(environ.get, names), *others


def _is_constant(function: Any) -> bool:
    """Return whether nothing that a function of Flask-CORS was made with can be something else the next time."""
    return all(_is_constant_value(cell.cell_contents) for cell in function.__closure__ or ())


def _is_constant_value(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_constant_value, value))
    if isinstance(value, dict):
        return all(map(_is_constant_value, value.items()))
    return type(value) in _CONSTANTS or (dataclasses.is_dataclass(value) and _is_constant_value(vars(value)))


def is_logged() -> bool:
    """Return whether Flask-CORS writes what it does to its log, for which it is asked every time."""
    # Nearly always the package alone has a level, which it sets when it is imported.
    is_silent = not (_core.level or _extension.level) and _package.level > DEBUG
    return not is_silent and (_core.isEnabledFor(DEBUG) or _extension.isEnabledFor(DEBUG))


def _filled(template: Template, headers: Pairs) -> Pairs:
    return [headers[part] if isinstance(part, int) else part for part in template]
