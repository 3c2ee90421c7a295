"""The app that the socket tests talk to: Echo that dawdles or fails when told to, and routes that look inside."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask, request

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, Service, StatusCode
from tests.apps import echo_service, know_routes, lookup_service
from tests.echo_pb2 import EchoReply, EchoRequest

MAX_MESSAGE_BYTES = 4 * 2**20
_STATUS_FILE = Path("/proc/self/status")


def create_app() -> Flask:
    app = Flask(__name__)
    lane = "FAST_LANE" in os.environ
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False)
    app.config["GRPC_CORS_ORIGINS"] = [] if lane else "https://page.example"
    app.config["GRPC_MAX_MESSAGE_BYTES"] = MAX_MESSAGE_BYTES
    app.config.from_prefixed_env()
    # Neither debug nor testing, because both change what Flask does with exceptions.
    GrpcWebScm(services=_services()).init_app(app)
    if lane:
        know_routes(app)
    else:
        app.before_request(_refuse)
    app.add_url_rule("/debug/peak", "peak", _peak)
    app.add_url_rule("/debug/peak", "reset_peak", _reset_peak, methods=["POST"])
    app.add_url_rule("/debug/closed", "closed", lambda: _closed)
    app.add_url_rule("/debug/step", "step", _step)
    app.add_url_rule("/host", "host", lambda: str(len(request.get_data())), methods=["POST"])
    return app


def __getattr__(name: str) -> Flask:
    if name != "app":
        raise AttributeError(name)
    return create_app()


_calls = count(1)
_closed: list[str] = []
_steps = threading.Semaphore(0)


def _services() -> list[Service]:
    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        number = next(_calls)
        _nap(request, context)
        _answer_metadata(context)
        if request.text.startswith("fail"):
            raise RpcError(StatusCode.NOT_FOUND, request.text)
        return EchoReply(text=_large(request) or request.text[:1000].upper(), number=number)

    def server_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        next(_calls)
        try:
            for number in range(request.count):
                _nap(request, context, number)
                yield EchoReply(text=_large(request) or request.text, number=number)
            _nap(request, context, request.count)
            if request.text.startswith("fail"):
                raise RpcError(StatusCode.DATA_LOSS, request.text)
        finally:
            _closed.append(request.data.decode())

    def client_stream(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
        text = ",".join(request.text for request in requests)
        return EchoReply(text=text, number=next(_calls))

    functions = {"Unary": unary, "ServerStream": server_stream, "ClientStream": client_stream}
    return [echo_service(**functions), lookup_service(unary)]


def _nap(request: EchoRequest, context: CallContext, number: int = 0) -> None:
    """Sleep as :func:`nap` says; for ``steps``, until told to go on."""
    if request.text == "steps":
        _steps.acquire(timeout=30)
    time.sleep(nap(request, context, number))


def nap(request: EchoRequest, context: CallContext, number: int) -> float:
    """Seconds before a response: 0.02 for ``nap 20``; for ``late 2`` the rest of the call's time from number 2 on."""
    kind, _, amount = request.text.partition(" ")
    if kind == "late" and number >= int(amount):
        return (context.remaining() or 0) + 0.05
    return int(amount) / 1000 if kind == "nap" else 0


def _step() -> str:
    _steps.release()
    return ""


def _large(request: EchoRequest) -> str:
    """``large 5000`` has responses of that length."""
    return "x" * int(request.text.removeprefix("large ")) if request.text.startswith("large ") else ""


def _answer_metadata(context: CallContext) -> None:
    for name in ("x-initial", "x-initial-bin"):
        for value in context.metadata.get_all(name):
            context.initial_metadata.add(name, value)
    for name in ("x-trailing", "x-trailing-bin"):
        for value in context.metadata.get_all(name):
            context.trailing_metadata.add(name, value)


def _refuse() -> Any:
    """Answers in place of an RPC, its body unread, as a login or a rate limit would."""
    status = request.headers.get("x-refuse")
    return (f"refused with {status}", int(status)) if status else None


def _peak() -> str:
    """Bytes of memory that this process has had at most (proc(5), VmHWM)."""
    (line,) = [line for line in _STATUS_FILE.read_text().splitlines() if line.startswith("VmHWM")]
    return str(int(line.split()[1]) * 1024)


def _reset_peak() -> str:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()
