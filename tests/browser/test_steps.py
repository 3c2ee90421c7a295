"""Steps on a page whose development server begins anew while it is loaded: they are taken again, from the first."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.browser import Scenarios
from tests.browser.build import missing_tools
from tests.servers import in_a_thread

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

PAGE = b"<!doctype html><body><script src='/script.js'></script>"
SCRIPT = b"document.body.append('Hello')"
NO_LINGER = struct.pack("ii", 1, 0)


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    handler.connection.close()


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def outdated(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(504, "Outdated Request")
    handler.send_header("content-length", "0")
    handler.end_headers()


@pytest.mark.parametrize("path", ["/", "/script.js"])
@pytest.mark.parametrize("fail", [reset, say_nothing, outdated])
def test_a_page_is_loaded_again(chromium: Scenarios, fail: Callable[[BaseHTTPRequestHandler], None], path: str) -> None:
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == path and asked.count(path) == 1:
                fail(self)
            else:
                self.send_response(200)
                self.send_header("content-type", "text/html" if self.path == "/" else "text/javascript")
                self.end_headers()
                self.wfile.write(PAGE if self.path == "/" else SCRIPT)

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Server)) as url:
        assert chromium.play("steps", {"url": f"{url}/", "steps": [["see", "Hello"]]}) == "Hello"
    assert asked.count(path) > 1
