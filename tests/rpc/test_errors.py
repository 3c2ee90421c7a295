"""The error that service functions raise."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.rpc import RpcError, StatusCode
from flask_grpcweb_scm.wire import decode_message, encode_message
from tests.echo_pb2 import EchoReply

REQUIRES = UninterpretedOption(name=[UninterpretedOption.NamePart()])


@pytest.mark.parametrize(
    ("message", "details", "expected"),
    [
        (ValueError("why"), (), "takes a text as its message, got ValueError"),
        (None, (), "got NoneType"),
        (b"why", (), "got bytes"),
        ("why", ["not a message"], "takes protobuf messages as its details, got str"),
        ("why", [EchoReply(), None], "got NoneType"),
        ("why", [REQUIRES], "got a google.protobuf.UninterpretedOption without all of its required fields"),
    ],
)
def test_what_could_not_be_sent_fails_where_it_is_raised(message: Any, details: Any, expected: str) -> None:
    with pytest.raises((TypeError, ValueError), match=expected):
        RpcError(StatusCode.INVALID_ARGUMENT, message, details)


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_error_travels_between_processes(travel: Any) -> None:
    arrived = travel(RpcError(StatusCode.NOT_FOUND, "why", [EchoReply(text="detail")]))
    assert (arrived.code, arrived.message) == (StatusCode.NOT_FOUND, "why")
    assert arrived.details == (EchoReply(text="detail"),)
    assert str(arrived) == "NOT_FOUND (5): why"


@given(text=st.text(max_size=20), times=st.sampled_from([1, 5000]))
def test_the_status_in_the_details_has_the_message_of_the_header(text: str, times: int) -> None:
    error = RpcError(StatusCode.NOT_FOUND, text * times)
    header = encode_message(error.message)
    assert error.status_proto() == Status(code=5, message=decode_message(header))
