"""Limits of a process are no limits of its children."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm.testing import channel_for
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import DESCRIPTOR, EchoRequest
from tests.forking import Child, alone
from tests.grpcweb import call


def codes(app: Flask) -> list[int]:
    client = app.test_client()
    return [call(client, ECHO + "ServerStream", EchoRequest(count=1)).code for _ in range(3)]


def fork_after_calls() -> Any:
    app = echo_app(GRPC_RATE_LIMITS="2/hour")
    return codes(app), Child(codes, app).result(), codes(app)


def test_a_child_counts_its_own_calls() -> None:
    assert alone(fork_after_calls) == ([0, 0, 8], [0, 0, 8], [8, 8, 8])


def fork_in_a_stream() -> Any:
    app = echo_app(GRPC_MAX_STREAMS=1)
    stream = channel_for(app).stub(DESCRIPTOR.services_by_name["Echo"]).server_stream(EchoRequest(count=2))
    next(stream)
    outcome = codes(app), Child(codes, app).result()
    stream.close()
    return *outcome, codes(app)


@pytest.mark.needs("time")
def test_a_child_counts_its_own_streams() -> None:
    assert alone(fork_in_a_stream) == ([8, 8, 8], [0, 0, 0], [0, 0, 0])
