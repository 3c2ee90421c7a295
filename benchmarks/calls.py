"""Unary calls in process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.apps import (
    LIST,
    UPLOAD,
    bare_wsgi,
    blueprint,
    connectrpc,
    flask_jsonify,
    flask_view,
    repositories,
    sonora,
)
from benchmarks.harness import PINNED_MALLOC, Goal, Variants, load
from benchmarks.wsgi import BINARY, TEXT, Wsgi, environ_of, frames, sender
from flask_grpcweb_scm.pb import scm_pb2
from tests.echo_pb2 import EchoRequest

REFERENCE = "Flask view"
PAGE = scm_pb2.ListRepositoriesRequest(organization_id=1, page_size=100).SerializeToString()


def _variants(apps: dict[str, Wsgi], path: str, payload: bytes, content_type: str) -> dict[str, Callable[[], bytes]]:
    body = frames(payload, text=content_type == TEXT)
    environ = environ_of(path, body, content_type)
    return {name: sender(wsgi, environ, body) for name, wsgi in apps.items()}


def unary(count: int, content_type: str) -> Variants:
    """All variants of one page of repositories."""
    answer = repositories(count)
    apps = {
        "bare WSGI": bare_wsgi(answer),
        "Flask view": flask_view(answer).wsgi_app,
        "Flask jsonify": flask_jsonify(count).wsgi_app,
        "sonora": sonora(answer),
        "connectrpc": connectrpc(answer),
        "blueprint": blueprint(answer).wsgi_app,
    }
    if content_type == TEXT:
        # It has no text mode.
        del apps["connectrpc"]
    return _variants(apps, LIST, PAGE, content_type)


for _count in (1, 100):
    for _content_type, _word in ((BINARY, "binary"), (TEXT, "text")):

        @load(f"unary {_count} {_word}", reference=REFERENCE, goals=[Goal("blueprint", REFERENCE, at_most=0.85)])
        def _unary(stack: ExitStack, count: int = _count, content_type: str = _content_type) -> Variants:
            return unary(count, content_type)


@load("answer 4 MB", reference=REFERENCE, environ=PINNED_MALLOC, goals=[Goal("blueprint", "bare WSGI", at_most=1.05)])
def answer_4_mb(stack: ExitStack) -> Variants:
    """One large answer."""
    return unary(37_000, BINARY)


@load(
    "upload 4 MB", reference=REFERENCE, environ=PINNED_MALLOC,
    goals=[Goal("blueprint", "Flask view", at_most=0.7), Goal("blueprint", "connectrpc", at_most=0.3)],
)  # fmt: skip
def upload_4_mb(stack: ExitStack) -> Variants:
    """One large request."""
    answer = repositories(1)
    apps = {
        "bare WSGI": bare_wsgi(answer),
        "Flask view": flask_view(answer).wsgi_app,
        "sonora": sonora(answer),
        "connectrpc": connectrpc(answer),
        "blueprint": blueprint(answer, GRPC_MAX_MESSAGE_BYTES=2**23).wsgi_app,
    }
    payload = EchoRequest(data=bytes(range(256)) * (4 * 2**12)).SerializeToString()
    return _variants(apps, UPLOAD, payload, BINARY)
