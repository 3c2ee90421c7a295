"""HTTPS: certificates are checked, and deadlines hold."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_grpcweb_scm.client import Channel, StatusCode
from flask_grpcweb_scm.testing import assert_rpc_error
from tests.client.scripted import OK, Peer, http, respond, serve
from tests.echo_pb2 import DESCRIPTOR, EchoRequest
from tests.grpcweb import frame

ECHO = DESCRIPTOR.services_by_name["Echo"]
# Key and certificate for localhost only, made with
# openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=localhost
# -addext subjectAltName=DNS:localhost
CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))
RESPOND = respond(http(frame(b"") + OK))


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def test_a_trusted_certificate(tls: ssl.SSLContext) -> None:
    with (
        serve(RESPOND, tls) as server,
        Channel(server.url, ca_certs=CERTIFICATE, timeout=5) as channel,
    ):
        for _ in range(3):
            channel.stub(ECHO).unary(EchoRequest(data=b"x" * 2**20))
        assert server.connections == 1


@pytest.mark.parametrize(("host", "ca_certs"), [("localhost", None), ("127.0.0.1", CERTIFICATE)])
def test_another_certificate_gets_no_request(tls: ssl.SSLContext, host: str, ca_certs: str | None) -> None:
    with serve(RESPOND, tls) as server:
        channel = Channel(server.url.replace("localhost", host), ca_certs=ca_certs, timeout=5, token="secret")
        with assert_rpc_error(StatusCode.UNAVAILABLE, match=r"certificate verify failed") as caught:
            channel.stub(ECHO).unary(EchoRequest())
        trusted = f"; trusted are the certificates of {ca_certs!r}"
        assert caught.value.message.endswith(trusted) == (ca_certs is not None)
        assert server.requests == []


@pytest.mark.parametrize("script", [Peer.wait, lambda peer: peer.drip(http(frame(b"x" * 1000)), 0.02)])
def test_deadlines(tls: ssl.SSLContext, script: Callable[[Peer], None]) -> None:
    with serve(script, tls) as server, Channel(server.url, ca_certs=CERTIFICATE, timeout=0.3) as channel:
        started = time.monotonic()
        with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
            channel.stub(ECHO).unary(EchoRequest())
        assert 0.29 < time.monotonic() - started < 8


def test_a_handshake_that_does_not_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Channel(f"https://127.0.0.1:{server.getsockname()[1]}", ca_certs=CERTIFICATE, timeout=0.3)
        started = time.monotonic()
        with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
            channel.stub(ECHO).unary(EchoRequest())
        assert time.monotonic() - started < 8
