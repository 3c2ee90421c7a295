"""Neighbours of the host's pages: they add to HTML, describe routes, serve files. RPCs are to be as without them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, jsonify

from tests.neighbours.neighbour import Neighbour

if TYPE_CHECKING:
    from tests.neighbours.host import Host, Response

__all__ = ["PAGES"]

RPCS = ["unary", "stream", "error"]


def has_only(what: str) -> dict[str, str]:
    """For what acts on pages alone."""
    return dict.fromkeys(RPCS, what)


class PageOnly(Neighbour):
    """It serves something at a path."""

    path = ""
    contains = "/page"

    def acts(self, cell: str, host: Host) -> object:
        found = host.get(self.path)
        return host.call(cell).is_right and found.status == 200 and self.contains in found.body


class FlaskDebugToolbar(Neighbour):
    name = "Flask-DebugToolbar"
    distribution = "Flask-DebugToolbar"
    sign = "the toolbar is in the page"
    cannot = has_only("adds to HTML")
    config = {"DEBUG_TB_ENABLED": True}

    def install(self, app: Flask) -> None:
        from flask_debugtoolbar import DebugToolbarExtension

        DebugToolbarExtension(app)

    def is_seen_in(self, response: Response) -> object:
        return 'id="flDebug"' in response.body


class FlaskMinify(Neighbour):
    name = "Flask-Minify"
    distribution = "Flask-Minify"
    sign = "the page has no white space between tags"
    cannot = has_only("changes HTML, scripts and styles")

    def install(self, app: Flask) -> None:
        from flask_minify import Minify

        Minify(app)

    def is_seen_in(self, response: Response) -> object:
        return "<body><h1>HELLO</h1>" in response.body


class FlaskCompress(Neighbour):
    name = "Flask-Compress"
    distribution = "Flask-Compress"
    sign = "`Content-Encoding`"
    cannot = has_only("leaves gRPC-Web alone: its messages are compressed one by one")
    config = {"COMPRESS_MIN_SIZE": 0}

    def install(self, app: Flask) -> None:
        from flask_compress import Compress

        Compress(app)

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell, headers={"Accept-Encoding": "gzip"}).headers.get("content-encoding") == "gzip"


class FlaskAdmin(PageOnly):
    name = "Flask-Admin"
    distribution = "Flask-Admin"
    sign = "its own pages"
    cannot = has_only("has pages of its own")
    path = "/admin/"
    contains = "<title>Home - Admin</title>"

    def install(self, app: Flask) -> None:
        from flask_admin import Admin
        from flask_babel import Babel

        Babel(app)  # which it insists on where it is installed
        Admin(app)


class Flasgger(PageOnly):
    name = "flasgger"
    distribution = "flasgger"
    sign = "its description has the documented page"
    cannot = has_only("describes views")
    path = "/apispec_1.json"

    def install(self, app: Flask) -> None:
        from flasgger import Swagger

        Swagger(app)

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        function.__doc__ = "The page.\n---\nresponses:\n  200:\n    description: a page\n"
        return function


class Spectree(PageOnly):
    name = "spectree"
    distribution = "spectree"
    sign = "its description has the page"
    cannot = has_only("describes views")
    path = "/apidoc/openapi.json"

    def install(self, app: Flask) -> None:
        from spectree import SpecTree

        SpecTree("flask", app=app)


class FlaskSwagger(PageOnly):
    name = "flask-swagger"
    distribution = "flask-swagger"
    sign = "its description has the documented page"
    cannot = has_only("describes views")
    path = "/spec"

    def install(self, app: Flask) -> None:
        from flask_swagger import swagger

        app.add_url_rule("/spec", "spec", lambda: jsonify(swagger(app)))

    guard = Flasgger.guard


class HttpDomain(PageOnly):
    name = "sphinxcontrib-httpdomain (`autoflask`)"
    distribution = "sphinxcontrib-httpdomain"
    sign = "its list of routes has the page"
    cannot = has_only("describes views")
    path = "/routes"

    def install(self, app: Flask) -> None:
        from sphinxcontrib.autohttp.flask_base import get_routes

        app.add_url_rule("/routes", "routes", lambda: [paths for _, paths, *_ in get_routes(app)])


class FlaskSmorest(PageOnly):
    name = "flask-smorest"
    distribution = "flask-smorest"
    sign = "its description; the message of its `abort()`"
    cannot = dict.fromkeys(["unary", "stream"], "acts on its own views and on errors")
    config = {"API_TITLE": "Host", "API_VERSION": "1", "OPENAPI_VERSION": "3.1.0", "OPENAPI_URL_PREFIX": "/"}
    path = "/openapi.json"
    contains = '"title": "Host"'

    def install(self, app: Flask) -> None:
        from flask_smorest import Api

        Api(app)

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from flask_smorest import abort

        from flask_grpcweb_scm import RpcError

        @functools.wraps(function)
        def guarded(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except RpcError:
                abort(404, message="no such row")

        return guarded

    def acts(self, cell: str, host: Host) -> object:
        if cell == "page":
            return super().acts(cell, host)
        response = host.call(cell)
        return (response.code, response.message) == (5, "no such row")


class FlaskRestx(PageOnly):
    name = "Flask-RESTX"
    distribution = "flask-restx"
    sign = "its description"
    cannot = has_only("acts on its own views")
    path = "/swagger.json"
    contains = '"title": "Host"'

    def install(self, app: Flask) -> None:
        from flask_restx import Api

        Api(app, title="Host", doc="/doc")


class FlaskRestful(PageOnly):
    name = "Flask-RESTful"
    distribution = "Flask-RESTful"
    sign = "its resource"
    cannot = has_only("acts on its own views")
    path = "/resource"
    contains = "from a resource"

    def install(self, app: Flask) -> None:
        from flask_restful import Api, Resource

        class Words(Resource):
            def get(self) -> dict[str, str]:
                return {"words": "from a resource"}

        Api(app).add_resource(Words, "/resource")


class FlaskOpenapi3(PageOnly):
    name = "flask-openapi3"
    distribution = "flask-openapi3"
    sign = "its description has a view of its own"
    cannot = has_only("describes views")
    path = "/openapi/openapi.json"
    contains = "/described"

    def make_app(self) -> Flask:
        from flask_openapi3 import Info, OpenAPI

        app = OpenAPI("host", info=Info(title="Host", version="1"))
        app.get("/described")(lambda: "described")
        return app


class WhiteNoise(PageOnly):
    name = "WhiteNoise"
    distribution = "whitenoise"
    sign = "serves a file"
    cannot = has_only("serves files")
    path = "/files/words.txt"
    contains = "from a file"

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        Path(self.folder.name, "words.txt").write_text("from a file")

    def install(self, app: Flask) -> None:
        from whitenoise import WhiteNoise

        app.wsgi_app = WhiteNoise(app.wsgi_app, root=self.folder.name, prefix="files/")  # type: ignore[method-assign]


class SharedData(WhiteNoise):
    name = "`SharedDataMiddleware`"
    distribution = "Werkzeug"

    def install(self, app: Flask) -> None:
        from werkzeug.middleware.shared_data import SharedDataMiddleware

        app.wsgi_app = SharedDataMiddleware(app.wsgi_app, {"/files": self.folder.name})  # type: ignore[method-assign]


PAGES = [
    *(FlaskDebugToolbar, FlaskMinify, FlaskCompress, FlaskAdmin, Flasgger, Spectree, FlaskSwagger, HttpDomain),
    *(FlaskSmorest, FlaskRestx, FlaskRestful, FlaskOpenapi3, WhiteNoise, SharedData),
]
