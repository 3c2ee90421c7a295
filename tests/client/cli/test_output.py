"""Statuses as people read them."""

from __future__ import annotations

import click
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from flask_grpcweb_scm.client import CallError
from flask_grpcweb_scm.client.cli.output import echo_error, json_text


@pytest.mark.parametrize("type_url", ["x/unknown.Type", "x/google.rpc.Status"])
def test_a_detail_that_cannot_be_read_is_printed_too(capsys: pytest.CaptureFixture[str], type_url: str) -> None:
    echo_error(CallError(5, "no\x1b[31m", [AnyMessage(type_url=type_url, value=b"\xff")]))
    printed = capsys.readouterr().err
    assert printed == f'NOT_FOUND (5): no\\x1b[31m\n  {{"@type": "{type_url}", "value": "/w=="}}\n'


@pytest.mark.parametrize(
    "message",
    [
        Status(details=[AnyMessage(type_url="x/unknown.Type")]),
        Status(details=[AnyMessage(type_url="x/google.rpc.Status", value=b"\xff")]),
        Timestamp(seconds=10**12),
    ],
)
def test_a_response_without_json_is_told(message: Message) -> None:
    with pytest.raises(click.ClickException, match=f"the {message.DESCRIPTOR.full_name} cannot be written as JSON: "):
        json_text(message)
