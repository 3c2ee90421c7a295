"""Unary calls in process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.apps import (
    LIST,
    UPLOAD,
    all_ways,
    blueprint,
    connectrpc,
    connectrpc_protobuf_py,
    fast_lane,
    flask_jsonify,
    flask_view,
    repositories,
)
from benchmarks.harness import PINNED_MALLOC, Goal, Variants, load
from benchmarks.wsgi import BINARY, TEXT, Wsgi, environ_of, frames, sender
from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from tests.echo_pb2 import EchoRequest

REFERENCE = "Flask view"
CONNECTRPC = ("connectrpc", "connectrpc, protobuf-py")
PAGE = scm_pb2.ListRepositoriesRequest(organization_id=1, page_size=100).SerializeToString()


def call_variants(
    apps: dict[str, Wsgi], path: str, payload: bytes, content_type: str, headers: dict[str, str] | None = None
) -> dict[str, Callable[[], bytes]]:
    """A callable for each app, which sends one request and reads the answer; connectrpc has no text mode."""
    if content_type == TEXT:
        apps = {name: wsgi for name, wsgi in apps.items() if name not in CONNECTRPC}
    body = frames(payload, text=content_type == TEXT)
    environ = environ_of(path, body, content_type, headers)
    return {name: sender(wsgi, environ, body) for name, wsgi in apps.items()}


def unary(count: int, content_type: str) -> Variants:
    """All variants of one page of repositories."""
    answer = repositories(count)
    apps = {"Flask jsonify": flask_jsonify(count).wsgi_app, **all_ways(answer)}
    return call_variants(apps, LIST, PAGE, content_type)


def _goals(content_type: str) -> list[Goal]:
    goals = [Goal("blueprint", REFERENCE, at_most=0.85), Goal("fast lane", "sonora", at_most=0.75)]
    return goals if content_type == TEXT else [*goals, *(Goal("fast lane", one, at_most=0.4) for one in CONNECTRPC)]


for _count in (1, 100):
    for _content_type, _word in ((BINARY, "binary"), (TEXT, "text")):

        @load(f"unary {_count} {_word}", reference=REFERENCE, goals=_goals(_content_type), clock="cpu")
        def _unary(stack: ExitStack, count: int = _count, content_type: str = _content_type) -> Variants:
            return unary(count, content_type)


@load(
    "answer 4 MB",
    reference=REFERENCE,
    environ=PINNED_MALLOC,
    goals=[Goal("blueprint", "bare WSGI", at_most=1.05)],
    clock="cpu",
)
def answer_4_mb(stack: ExitStack) -> Variants:
    """One large answer."""
    return unary(37_000, BINARY)


@load(
    "upload 4 MB", reference=REFERENCE, environ=PINNED_MALLOC, clock="cpu",
    goals=[Goal("blueprint", "Flask view", at_most=0.7), *(Goal("blueprint", one, at_most=0.3) for one in CONNECTRPC)],
)  # fmt: skip
def upload_4_mb(stack: ExitStack) -> Variants:
    """One large request."""
    apps = all_ways(repositories(1), GRPC_MAX_MESSAGE_BYTES=2**23)
    payload = EchoRequest(data=bytes(range(256)) * (4 * 2**12)).SerializeToString()
    return call_variants(apps, UPLOAD, payload, BINARY)


def _ours(
    count: int,
    headers: dict[str, str],
    content_type: str = BINARY,
    *,
    peers: dict[str, Wsgi] | None = None,
    **options: Any,
) -> Variants:
    """A plain call by hand, and calls of ours, and of peers that can, which ask for more."""
    answer = repositories(count)
    payload = PAGE if content_type == BINARY else b"{}"
    plain = call_variants({REFERENCE: flask_view(answer).wsgi_app}, LIST, PAGE, BINARY)
    apps = {
        **(peers or {}),
        "blueprint": blueprint(answer, **options).wsgi_app,
        "fast lane": fast_lane(answer, **options).wsgi_app,
    }
    return {**plain, **call_variants(apps, LIST, payload, content_type, headers)}


@load("error answer", reference=REFERENCE, clock="cpu")
def error_answer(stack: ExitStack) -> Variants:
    """A function that raises RpcError."""

    def fail(message: object, context: object) -> object:
        raise RpcError(StatusCode.NOT_FOUND, "no repository 7")

    return _ours(1, {}, list_repositories=fail)


@load("deadline and 50 metadata entries", reference=REFERENCE, clock="cpu")
def metadata(stack: ExitStack) -> Variants:
    """Metadata of a call, of so many entries."""
    return _ours(1, {"grpc-timeout": "5S", **{f"x-entry-{number}": "value " * 5 for number in range(50)}})


@load("gzip, 100 repositories", reference=REFERENCE, clock="cpu")
def gzip(stack: ExitStack) -> Variants:
    """A compressed answer; the view answers the same page uncompressed."""
    return _ours(100, {"grpc-accept-encoding": "gzip"})


JSON_GOALS = [Goal("fast lane", "connectrpc", at_most=0.1), Goal("fast lane", "connectrpc, protobuf-py", at_most=1.3)]


@load("JSON, 100 repositories", reference=REFERENCE, goals=JSON_GOALS, clock="cpu")
def json(stack: ExitStack) -> Variants:
    """The JSON codec; the view answers the same page in binary."""
    answer = repositories(100)
    peers = {"connectrpc": connectrpc(answer), "connectrpc, protobuf-py": connectrpc_protobuf_py(answer)}
    return _ours(100, {}, "application/grpc-web+json", peers=peers)


def _connect(count: int, payload: bytes, codec: str) -> Variants:
    """Unary calls of Connect, whose messages have no frames."""
    page = repositories(count)
    apps = {
        "connectrpc": connectrpc(page),
        "connectrpc, protobuf-py": connectrpc_protobuf_py(page),
        "blueprint": blueprint(page).wsgi_app,
        "fast lane": fast_lane(page).wsgi_app,
    }
    environ = environ_of(LIST, payload, f"application/{codec}", {"connect-protocol-version": "1"})
    return {name: sender(wsgi, environ, payload) for name, wsgi in apps.items()}


@load(
    "Connect, unary 1 binary", reference="connectrpc", clock="cpu",
    goals=[Goal("fast lane", "connectrpc", at_most=0.5)],
)  # fmt: skip
def connect_binary(stack: ExitStack) -> Variants:
    """One repository, of 0.1 kB."""
    return _connect(1, PAGE, "proto")


@load("Connect, 100 repositories in JSON", reference="connectrpc", goals=JSON_GOALS, clock="cpu")
def connect_json(stack: ExitStack) -> Variants:
    """Rows as browsers get them, unless they ask for binary ones."""
    return _connect(100, b'{"organizationId": "1", "pageSize": 100}', "json")


@load("2 000 methods", reference=REFERENCE, clock="cpu")
def methods(stack: ExitStack) -> Variants:
    """One among many methods; the view has the app for itself."""
    return _ours(1, {}, more_methods=2000)
