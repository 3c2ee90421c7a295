"""Requests to providers through ``GRPC_SCM_PROXY``."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from flask_grpcweb_scm.scm.providers import ProviderMisconfigured, ProviderUnavailable, http
from flask_grpcweb_scm.scm.providers.api import account_of
from flask_grpcweb_scm.scm.providers.http import HttpClient
from tests.client.scripted import http as response
from tests.client.scripted import serve
from tests.scm.support import make_app


@dataclass
class Proxy:
    port: int
    heads: list[str] = field(default_factory=list)
    refusal: bytes = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def proxying() -> Iterator[Proxy]:
    """A proxy that makes tunnels."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(listener.getsockname()[1])

        def pump(source: socket.socket, target: socket.socket) -> None:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

        def serve_one(peer: socket.socket) -> None:
            with peer:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += peer.recv(65536)
                proxy.heads.append(head.decode())
                if proxy.refusal:
                    peer.sendall(proxy.refusal)
                    return
                host, _, port = head.split(b" ")[1].decode().rpartition(":")
                with socket.create_connection((host.strip("[]"), int(port))) as target:
                    peer.sendall(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
                    back = threading.Thread(target=pump, args=(target, peer), daemon=True)
                    back.start()
                    pump(peer, target)
                    back.join()

        def accept() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve_one, args=(peer,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def client(url: str, proxy: str, allowed: Any = ("127.0.0.1", "localhost")) -> HttpClient:
    return HttpClient(url, provider="github", deadline=time.monotonic() + 5, allowed_hosts=allowed, proxy=proxy)


def test_a_proxy_is_told_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    resolve = http.resolve

    def resolver(host: str, port: int, timeout: float | None) -> Any:
        asked.append(host)
        return resolve(host, port, timeout)

    monkeypatch.setattr(http, "resolve", resolver)
    with serve(lambda peer: peer.send(response(b"{}"))) as server, proxying() as proxy:
        url = server.url.replace("127.0.0.1", "localhost")
        with_user = proxy.url.replace("//", "//an%40n:p%3Aw@")
        assert client(url, with_user).get("/x").json() == {}
        port = url.rpartition(":")[2]
    first, *lines = proxy.heads[0].rstrip().split("\r\n")
    assert first == f"CONNECT 127.0.0.1:{port} HTTP/1.1"
    credentials = base64.b64encode(b"an@n:p:w").decode()
    assert lines == [f"Host: 127.0.0.1:{port}", f"Proxy-Authorization: Basic {credentials}"]
    # The proxy's own name, and that of the provider once.
    assert asked == ["localhost", "127.0.0.1"]
    assert server.requests[0]["host"] == f"localhost:{port}"
    assert "proxy-authorization" not in server.requests[0]


def test_a_private_address_is_refused_before_the_proxy_hears_of_it() -> None:
    with proxying() as proxy:
        for host in ("127.0.0.1", "localhost", "[::ffff:10.0.0.1]", "169.254.169.254"):
            with pytest.raises(ProviderMisconfigured, match="has no public address"):
                client(f"https://{host}", proxy.url, allowed=()).get("/x")
    assert proxy.heads == []


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ProviderMisconfigured),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ProviderUnavailable),
        (b"HTTP/1.1 200\r\nx: " + b"y" * 20_000, ProviderUnavailable),
        (b"SSH-2.0-x\r\n\r\n", ProviderUnavailable),
        (b"HTTP/1.1 2", ProviderUnavailable),
    ],
)
def test_a_proxy_that_does_not_connect_is_told(refusal: bytes, error: type[Exception]) -> None:
    with proxying() as proxy:
        proxy.refusal = refusal
        with pytest.raises(error, match="the proxy of GRPC_SCM_PROXY does not connect") as caught:
            client("http://localhost:9", proxy.url).request("POST", "/x", json={})
    assert not caught.value.may_have_acted  # type: ignore[attr-defined]
    assert "localhost" not in str(caught.value)


def test_a_proxy_that_cannot_be_reached_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = closed.getsockname()
    with pytest.raises(ProviderUnavailable, match="the proxy of GRPC_SCM_PROXY does not connect") as caught:
        client("http://localhost:9", f"http://u:hunter2@127.0.0.1:{place[1]}").get("/x")
    assert caught.value.private.endswith("it cannot be reached: Connection refused")
    assert "hunter2" not in caught.value.private


def test_hosts_may_be_called_without_the_proxy() -> None:
    app = make_app(
        "sqlite://",
        GRPC_SCM_CREDENTIALS={"bot": "t"},
        GRPC_SCM_PROXY="http://proxy.example:3128",
        GRPC_SCM_NO_PROXY="git.internal",
    )
    proxies = {}
    with app.app_context():
        for url in ("https://git.internal:8443/x", "https://ghe.example", "", None, "http://[", 7):
            metadata = {"base_url": url, "credentials": "bot"}
            proxies[url] = account_of("github", metadata, "", None)["proxy"]
    assert proxies.pop("https://git.internal:8443/x") == ""
    assert set(proxies.values()) == {"http://proxy.example:3128"}
