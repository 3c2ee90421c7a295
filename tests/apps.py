"""Apps to call: the Echo service, and a host app around it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask

from flask_grpcweb_scm import CallContext, GrpcWebScm, Service
from flask_grpcweb_scm.rpc.protocols import TRAILERS_KEY
from flask_grpcweb_scm.web.fast_lane import FastLane, Route
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest

ECHO = "/tests.echo.v1.Echo/"
LOCAL_HOST = re.compile(r"localhost|127\.0\.0\.1:\d+")
LANES = ["first call of a route", "known route", "fast lane"]
way = LANES[0]
"""The way that calls of :func:`echo_app` take, if nothing in the app is in their way."""


def echo_service(**functions: Callable[..., Any]) -> Service:
    """The Echo service; `functions` replace the ones of this module by method name."""
    service = Service(DESCRIPTOR.services_by_name["Echo"])
    for name in ("Unary", "ServerStream", "ClientStream", "Bidi"):
        service.add_rpc(name, functions.get(name, globals()[name]))
    service.unimplemented("Missing")
    return service


def lookup_service(function: Callable[..., Any]) -> Service:
    """A service without side effects, which Connect may call by GET."""
    service = Service(DESCRIPTOR.services_by_name["Lookup"])
    service.add_rpc("Find", function)
    return service


@functools.cache
def _echo_service() -> Service:
    """One for all: half of the costs of an app are the checks of its functions."""
    return echo_service()


def Unary(request: EchoRequest, context: CallContext) -> EchoReply:  # noqa: N802
    return EchoReply(text=request.text.upper())


def ServerStream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:  # noqa: N802
    for number in range(request.count):
        yield EchoReply(text=request.text, number=number)


def ClientStream(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:  # noqa: N802
    return EchoReply(text=",".join(request.text for request in requests))


def Bidi(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:  # noqa: N802
    for number, request in enumerate(requests):
        yield EchoReply(text=request.text, number=number)


def echo_app(
    *, extension: GrpcWebScm | None = None, prepare: Callable[[Flask], None] | None = None, **options: Any
) -> Flask:
    """An app that serves Echo. `options` in capitals are configuration, the others service functions.

    :param prepare: called with the app before the extension.
    """
    app = Flask(__name__, static_folder=None)
    app.testing = True
    app.config["GRPC_SCM"] = False
    app.config.update({key: value for key, value in options.items() if key.isupper()})
    if prepare:
        prepare(app)
    functions = {key: value for key, value in options.items() if not key.isupper()}
    extension = extension or GrpcWebScm(services=[echo_service(**functions) if functions else _echo_service()])
    if way == "known route":
        app.config.setdefault("GRPC_FAST_LANE", False)
    extension.init_app(app)
    if way != LANES[0]:
        know_routes(app)
    return app


def know_routes(app: Flask) -> None:
    """As if every method had been called once, in every way."""
    lane = lane_of(app)
    if lane is not None:
        lane._routes = KnownRoutes(app, lane, is_found_by_key=True)
        lane._by_more = KnownRoutes(app, lane, is_found_by_key=False)


def lane_of(app: Flask) -> FastLane | None:
    """The lane of an app, if it has one."""
    lane = getattr(app.request_context, "__self__", None)
    return lane if isinstance(lane, FastLane) else None


class KnownRoutes(dict[Any, Route]):
    """The routes of a lane; those of this machine's names are there without having been added."""

    def __init__(self, app: Flask, lane: FastLane, *, is_found_by_key: bool) -> None:
        self._is_found_by_key = is_found_by_key
        self._lane = lane
        self._calls = calls = lane._calls
        prefix = calls.settings.url_prefix
        self._rules = {rule.rule: rule for rule in app.url_map.iter_rules() if rule.rule.startswith(prefix)}
        self._methods = {prefix + path: method for path, method in calls.methods.items()}

    def get(self, key: Any, default: Any = None) -> Any:
        verb, host, path, content_type, accept, *origins = key
        if origins and origins[0] is not None:
            # May its pages call?
            return super().get(key, default)
        environ = {"REQUEST_METHOD": verb, "CONTENT_TYPE": content_type, "HTTP_ACCEPT": accept, TRAILERS_KEY: []}
        protocol, method = self._calls.protocols.find(environ), self._methods.get(path)
        is_known = verb == "POST" and LOCAL_HOST.fullmatch(host or "") and self._lane._is_plain_flask()
        if not is_known or protocol is None or method is None or not protocol.serves(method):
            return super().get(key, default)
        if protocol.is_found_by_key is not self._is_found_by_key:
            return super().get(key, default)
        return Route(self._rules[path], self._calls.endpoint(method, protocol))
