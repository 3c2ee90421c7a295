"""The app that browsers call: Echo and ScmService, and routes through which a page watches and steers its calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from flask import Blueprint, Flask, abort
from flask import request as http_request
from flask_cors import CORS
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode, current_rpc, rpc_finished
from flask_grpcweb_scm.scm import Organization, Repository, db
from tests.apps import echo_service, lookup_service
from tests.echo_pb2 import EchoReply, EchoRequest

__all__ = ["TOKEN", "create_app"]

TOKEN = "your-auth-token"
NON_ASCII = "größer als 100 %: 猫 🐈"
PATIENCE = 4.0
"""Seconds that a gated stream waits for the page; it goes on "late" after that."""
STREAM_SECONDS = 10.0


@dataclass
class Call:
    """What is known of a call that the page gave the name `x-call`."""

    timeout: float | None = None
    sent: int = 0
    closed: bool = False
    code: str = ""
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ended: threading.Event = field(default_factory=threading.Event)


_calls: dict[str, Call] = {}


def create_app() -> Flask:
    """The app; ``FLASK_GRPC_CORS_ORIGINS`` and ``FLASK_SQLALCHEMY_DATABASE_URI`` come from the environment."""
    app = Flask(__name__)
    # Every client of the matrix brings a wrong token, twice.
    app.config.update(GRPC_AUTH_TOKENS=TOKEN, GRPC_CORS_CREDENTIALS=True, GRPC_MAX_AUTH_FAILURES=None)
    app.config.from_prefixed_env()
    services = [echo_service(Unary=unary, ServerStream=server_stream), lookup_service(find)]
    extension = GrpcWebScm(services=services)
    extension.intercept(_remember)
    extension.init_app(app)
    app.before_request(_refuse)
    app.register_blueprint(_probe())
    rpc_finished.connect(_finished, app)
    with app.app_context():
        _add_repositories()
    return app


def __getattr__(name: str) -> Flask:
    # For pyvoy, which calls no function for its app.
    if name == "app":
        return create_app()
    raise AttributeError(name)


def _add_repositories() -> None:
    db.create_all()
    for organization_id in (1, 123):
        db.session.add(Organization(id=organization_id, slug=f"demo-{organization_id}", name="Demo"))
        for name in ("demo/api", "demo/web"):
            db.session.add(Repository(organization_id=organization_id, name=name, provider="github", external_id=name))
    db.session.commit()


# The service functions; what they do is the text of the request.


def unary(request: EchoRequest, context: CallContext) -> EchoReply:
    if request.text == "fail":
        _fail(StatusCode.NOT_FOUND)
    if request.text == "cookie":
        return EchoReply(text=http_request.cookies.get("visitor", "none"))
    if request.text == "sleep":
        # Those who send no deadline end the call themselves.
        time.sleep(min(context.remaining() or 0, PATIENCE))
    return EchoReply(text=request.text.upper(), number=request.count)


def find(request: EchoRequest, context: CallContext) -> EchoReply:
    assert http_request.method == "GET"
    return unary(request, context)


def server_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    call = _calls[_name(context)]
    try:
        for reply in STREAMS[request.text](request, call):
            call.sent += 1
            yield reply
    finally:
        call.closed = True


def _gated(request: EchoRequest, call: Call) -> Iterator[EchoReply]:
    """Every message but the first waits until the page has received the one before it."""
    timely = True
    for number in range(request.count):
        if number:
            timely = timely and call.gate.acquire(timeout=PATIENCE)
        yield EchoReply(text="on time" if timely else "late", number=number)


def _endless(request: EchoRequest, call: Call) -> Iterator[EchoReply]:
    stop = time.monotonic() + STREAM_SECONDS
    while time.monotonic() < stop:
        yield EchoReply(text="more", number=call.sent)
        time.sleep(0.05)


def _limited(request: EchoRequest, call: Call) -> Iterator[EchoReply]:
    replies = _endless(request, call)
    yield next(replies)
    current_rpc.set_timeout(0.2)
    yield from replies


def _large(request: EchoRequest, call: Call) -> Iterator[EchoReply]:
    for number in range(request.count):
        yield EchoReply(text="ü" * 150_000, number=number)


def _failing(request: EchoRequest, call: Call) -> Iterator[EchoReply]:
    for number in range(request.count):
        yield EchoReply(number=number)
    _fail(StatusCode.DATA_LOSS)


STREAMS: dict[str, Callable[[EchoRequest, Call], Iterator[EchoReply]]] = {
    "gated": _gated,
    "endless": _endless,
    "limited": _limited,
    "large": _large,
    "fail": _failing,
}


def _fail(code: StatusCode) -> NoReturn:
    violation = error_details_pb2.BadRequest.FieldViolation(field="text", description=NON_ASCII)
    raise RpcError(code, NON_ASCII, [error_details_pb2.BadRequest(field_violations=[violation])])


def _remember(request: Message, context: CallContext, call_next: Callable[[Any, CallContext], Any]) -> Any:
    _calls[_name(context)] = Call(timeout=context.remaining())
    for name, metadata in (("x-initial", context.initial_metadata), ("x-trailing", context.trailing_metadata)):
        for suffix in ("", "-bin"):
            for value in context.metadata.get_all("x-mine" + suffix):
                metadata.add(name + suffix, value)
    return call_next(request, context)


def _finished(app: Flask, context: CallContext, code: StatusCode, **_: object) -> None:
    call = _calls.get(_name(context))
    if call:
        call.code = code.name
        call.ended.set()


def _name(context: CallContext) -> str:
    return str(context.metadata.get("x-call", ""))


def _refuse() -> None:
    """As Flask-Login refuses: an HTML page with HTTP status 401."""
    if http_request.method != "OPTIONS" and "x-refuse" in http_request.headers:
        abort(401)


# The routes for the page


def _probe() -> Blueprint:
    probe = Blueprint("probe", __name__)
    CORS(probe, origins="*")
    probe.add_url_rule("/calls/<name>", "ended", _ended)
    probe.add_url_rule("/calls/<name>/sent/<int:count>", "sent", _sent)
    probe.add_url_rule("/calls/<name>/gate", "gate", _open_gate, methods=["POST"])
    return probe


def _ended(name: str) -> dict[str, object]:
    """Answers when the call has ended, or after three seconds."""
    call = _calls[name]
    call.ended.wait(3)
    return {"code": call.code, "closed": call.closed, "sent": call.sent, "timeout": call.timeout}


def _sent(name: str, count: int) -> dict[str, object]:
    """Answers when the call has sent `count` messages, or after three seconds."""
    stop = time.monotonic() + 3
    while time.monotonic() < stop and (name not in _calls or _calls[name].sent < count):
        time.sleep(0.01)
    return {"sent": _calls[name].sent if name in _calls else 0}


def _open_gate(name: str) -> dict[str, object]:
    _calls[name].gate.release()
    return {}
