"""Neighbours around the app: WSGI middlewares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, request

from tests.neighbours.neighbour import Neighbour

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from tests.neighbours.host import Host

__all__ = ["MIDDLEWARES"]


class Proxied(Neighbour):
    name = "`ProxyFix`"
    distribution = "Werkzeug"
    sign = "the caller's address is that of `X-Forwarded-For`"

    def install(self, app: Flask) -> None:
        from werkzeug.middleware.proxy_fix import ProxyFix

        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]

    def speak(self, text: str) -> str:
        return str(request.remote_addr)

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell, headers={"X-Forwarded-For": "203.0.113.9"}).texts[0] == "203.0.113.9"


class Dispatched(Neighbour):
    name = "`DispatcherMiddleware`"
    distribution = "Werkzeug"
    sign = "calls go to the path where the app is mounted, and there only"

    def around(self, app: Flask) -> WSGIApplication:
        from werkzeug.exceptions import NotFound
        from werkzeug.middleware.dispatcher import DispatcherMiddleware

        return DispatcherMiddleware(NotFound(), {"/mounted": app})

    def speak(self, text: str) -> str:
        return request.root_path

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell).status == 404 and host.call(cell, prefix="/mounted").texts[:1] == ("/mounted",)


class Validated(Neighbour):
    name = "`wsgiref.validate`"
    distribution = "Python"
    sign = "its input and its errors are the request's; it has nothing to complain of"

    def install(self, app: Flask) -> None:
        from wsgiref.validate import validator

        app.wsgi_app = validator(app.wsgi_app)  # type: ignore[method-assign]

    def speak(self, text: str) -> str:
        return type(request.environ["wsgi.input"]).__module__

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell, query_string="a=1").texts[0] == "wsgiref.validate"


class A2wsgi(Neighbour):
    name = "a2wsgi (`WSGIMiddleware`)"
    distribution = "a2wsgi"
    sign = "the app runs as ASGI: its input is a2wsgi's"

    def around(self, app: Flask) -> WSGIApplication:
        from a2wsgi import ASGIMiddleware, WSGIMiddleware

        return ASGIMiddleware(WSGIMiddleware(app))

    def speak(self, text: str) -> str:
        return type(request.environ["wsgi.input"]).__module__

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell).texts[0] == "a2wsgi.wsgi"


MIDDLEWARES = [Proxied, Dispatched, Validated, A2wsgi]
