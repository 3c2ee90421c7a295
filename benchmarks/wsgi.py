"""WSGI requests as a server makes them, and what is needed to send them to any WSGI application."""

from __future__ import annotations

import base64
import io
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["BINARY", "TEXT", "Wsgi", "environ_of", "exchange", "frames", "sender"]

BINARY = "application/grpc-web+proto"
# sonora knows text mode by this name only.
TEXT = "application/grpc-web-text"

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def frames(*payloads: bytes, text: bool = False) -> bytes:
    """A body: each payload behind its prefix."""
    body = b"".join(struct.pack("!BI", 0, len(payload)) + payload for payload in payloads)
    return base64.b64encode(body) if text else body


def environ_of(path: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The keys that gunicorn sets for a browser's request; the input is still missing."""
    environ = {
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": None,
        "wsgi.input_terminated": True,
        "wsgi.url_scheme": "http",
        "SERVER_SOFTWARE": "gunicorn/25.1.0",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "",
        "RAW_URI": path,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "HTTP_ACCEPT": content_type,
        "HTTP_X_GRPC_WEB": "1",
    }
    environ.update({"HTTP_" + name.upper().replace("-", "_"): value for name, value in (headers or {}).items()})
    return environ


def sender(wsgi: Wsgi, environ: Mapping[str, Any], body: bytes) -> Callable[[], bytes]:
    """A callable that sends one request and reads its answer to the end."""

    def send() -> bytes:
        iterable = wsgi({**environ, "wsgi.input": io.BytesIO(body)}, _start_response)
        try:
            return b"".join(iterable)
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    return send


def _start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
    assert status.startswith("200"), f"the answer is {status}"


def exchange(wsgi: Wsgi, path: str, body: bytes, content_type: str = BINARY) -> bytes:
    """Send one request; returns the body of the answer."""
    return sender(wsgi, environ_of(path, body, content_type), body)()
