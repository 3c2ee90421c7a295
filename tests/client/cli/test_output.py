"""Statuses as people read them."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from flask_grpcweb_scm.client import CallError
from flask_grpcweb_scm.client.cli.output import echo_error


def test_a_detail_of_an_unknown_class_is_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    echo_error(CallError(5, "no\x1b[31m", [AnyMessage(type_url="x/unknown.Type", value=b"1")]))
    printed = capsys.readouterr().err
    assert printed == 'NOT_FOUND (5): no\\x1b[31m\n  {"@type": "x/unknown.Type", "value": "MQ=="}\n'
