"""Tests of the service: in process, without a server."""

from typing import Any

import pytest
from flask import Flask
from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.testing import assert_rpc_error

from app import create_app
from greeter_pb2 import DESCRIPTOR, CountRequest, HelloRequest


@pytest.fixture
def app() -> Flask:
    return create_app()


@pytest.fixture
def stub(grpc_channel: Channel) -> Any:
    return grpc_channel.stub(DESCRIPTOR.services_by_name["Greeter"])


def test_it_says_hello(stub: Any) -> None:
    assert stub.say_hello(HelloRequest(name="Ann")).text == "Hello Ann"


def test_it_says_nothing_to_nobody(stub: Any) -> None:
    with assert_rpc_error(StatusCode.INVALID_ARGUMENT, match="name is empty"):
        stub.say_hello(HelloRequest())


def test_it_counts(stub: Any) -> None:
    assert [reply.number for reply in stub.count_to(CountRequest(limit=3))] == [1, 2, 3]
