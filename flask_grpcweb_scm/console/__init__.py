"""The console: pages that show the services of an app, and call them from the browser.

The pages are the files of ``static/``, as they are: HTML, a style sheet, and modules of JavaScript. They know nothing
of the app but what ``schema.json`` says, which is for those who may call reflection. All their links are relative, so
that they are right behind proxies that take a prefix off the path without a word.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from flask_grpcweb_scm.console.schema import schema_of
from flask_grpcweb_scm.services import Descriptors
from flask_grpcweb_scm.state import AppState
from flask_grpcweb_scm.web.pages import add_page, refuse_reader

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

__all__ = ["FILES", "PAGES", "add_console"]

DEFAULT_PATH = "/_grpc"
FILES = {path.name: path for path in sorted((Path(__file__).parent / "static").glob("*.*"))}
# What is usual, whatever the machine's own table of types has.
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PAGES = {"sentry.integrations.scm.v1.ScmService": ("suspects.html", "Suspects")}
"""Pages beside the first one, by the service that they call: the file, and the text of links to it."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; trusted-types 'none';"
        " require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def add_console(app: Flask, state: AppState, descriptors: Descriptors) -> None:
    """Add the pages of ``GRPC_CONSOLE``."""
    path = state.settings.console or DEFAULT_PATH

    @functools.cache
    def schema() -> bytes:
        return json.dumps(_schema(app, state, descriptors, path), separators=(",", ":")).encode()

    def schema_page() -> Response:
        response = refuse_reader(state) or Response(schema(), content_type="application/json")
        response.headers["Cache-Control"] = "no-store"
        return _with_headers(response)

    def first_page() -> ResponseReturnValue:
        if request.path.endswith("/"):
            return _file("index.html")
        # Relative: a proxy may have another path before this one.
        return _with_headers(Response(status=308, headers={"Location": f"{path.rpartition('/')[2]}/"}))

    for suffix in ("", "/"):
        add_page(app, state.settings, path + suffix, f"grpcweb_scm_console{suffix}", first_page)
    add_page(app, state.settings, f"{path}/schema.json", "grpcweb_scm_console_schema", schema_page)
    for name in FILES:
        if name != "index.html":
            add_page(
                app, state.settings, f"{path}/{name}", f"grpcweb_scm_console/{name}", functools.partial(_file, name)
            )


def _file(name: str) -> Response:
    content_type = f"{TYPES[FILES[name].suffix]}; charset=utf-8"
    response = Response(FILES[name].read_bytes(), content_type=content_type)
    # They change with the package, and modules of two versions do not fit together.
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return _with_headers(response)


def _with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response


def _schema(app: Flask, state: AppState, descriptors: Descriptors, path: str) -> dict[str, Any]:
    services, prefix = state.dispatcher.services, state.settings.url_prefix
    return {
        "title": app.name,
        # From the console's own folder to the path before /package.Service/Method.
        "base": "../" * path.count("/") + (f"{prefix[1:]}/" if prefix else ""),
        "protocols": state.settings.protocols,
        "authenticates": state.authenticate is not None and state.settings.require_auth,
        "pages": [{"href": file, "text": text} for name, (file, text) in PAGES.items() if name in services],
        **schema_of([*services.values()], descriptors.file_set()),
    }
