"""Fetches through ``GRPC_SCM_PROXY``, which is told the address that was checked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror
from flask_grpcweb_scm.scm.mirrors.relay import Relay
from flask_grpcweb_scm.scm.mirrors.remote import FetchFailed, Remote
from flask_grpcweb_scm.scm.providers import Credential
from tests.scm.mirrors.git_server import GitServer, serve_git
from tests.scm.providers.test_proxy import Proxy, proxying
from tests.scm.support import GitRepository

SECRET = "ghs_VerySecretToken"


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    GitRepository(tmp_path / "remotes/api.git").commit("first")
    with serve_git(tmp_path / "remotes") as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxying() as proxy:
        yield proxy


def update(tmp_path: Path, remote: Remote) -> OwnMirror:
    mirror = OwnMirror(tmp_path / "mirrors/0/1-0.git", Limits(timeout=30, memory=2**30))
    mirror.update(remote)
    return mirror


def test_a_proxy_is_told_the_address_that_was_checked(
    git_server: GitServer, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolver(host: str, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "inside.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    url = f"http://inside.example:{git_server.server_port}/api.git"
    how = {"allowed_hosts": {"inside.example"}, "credential": Credential(token=SECRET)}
    with_password = proxy.url.replace("//", "//user:pass@")
    mirror = update(tmp_path, Remote(url, proxy=with_password, **how))  # type: ignore[arg-type]
    assert mirror.problems() == ""
    assert {head.split("\r\n")[0] for head in proxy.heads} == {f"CONNECT 127.0.0.1:{git_server.server_port} HTTP/1.1"}
    assert all("Proxy-Authorization: Basic dXNlcjpwYXNz" in head for head in proxy.heads)
    assert not any(SECRET in head for head in proxy.heads), "what is in the tunnel is not for the proxy"
    assert "pass" not in repr(Remote(url, proxy=with_password))
    assert sum(thread.name.startswith("relay") for thread in threading.enumerate()) < 20


def test_private_addresses_are_private_for_a_proxy_too(git_server: GitServer, proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="has no public address"):
        update(tmp_path, Remote(f"https://127.0.0.1:{git_server.server_port}/api.git", proxy=proxy.url))
    assert proxy.heads == []


def test_a_proxy_that_refuses(git_server: GitServer, proxy: Proxy, tmp_path: Path) -> None:
    proxy.refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    remote = Remote(f"{git_server.url}/api.git", allowed_hosts={"127.0.0.1"}, proxy=proxy.url)
    with pytest.raises(FetchFailed, match=r"the proxy of GRPC_SCM_PROXY does not connect: HTTP/1\.1 407"):
        update(tmp_path, remote)
    assert git_server.requests == []


def test_nobody_else_uses_the_relay() -> None:
    def connect() -> socket.socket:
        raise AssertionError

    with Relay(connect) as relay:
        port = urlsplit(relay.url).port
        assert port is not None
        for sent, expected in (
            (b"\x05\x01\x00", b"\x05\xff"),
            (b"\x04\x01", b"\x05\xff"),
            (b"\x05\x01\x02\x01\x03git\x05wrong", b"\x05\x02\x01\x01"),
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as opened:
                opened.sendall(sent)
                received = b""
                while chunk := opened.recv(100):
                    received += chunk
            assert received == expected
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=10)
