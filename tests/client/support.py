"""The echo service: stubs over a channel to an app in this process, and errors of a scripted server."""

from __future__ import annotations

from typing import Any

import pytest

from flask_grpcweb_scm.client import CallError, Channel
from flask_grpcweb_scm.testing import channel_for
from flask_grpcweb_scm.wire import ENCODINGS
from tests.apps import echo_app
from tests.client.scripted import Script, serve
from tests.echo_pb2 import DESCRIPTOR, EchoRequest

__all__ = ["ECHO", "WAYS", "call_error", "echo_stub"]

ECHO = DESCRIPTOR.services_by_name["Echo"]

WAYS: list[dict[str, Any]] = [
    {"codec": codec, "text": text, "compression": compression}
    for codec in ("proto", "json")
    for text in (False, True)
    for compression in (None, *ENCODINGS)
] + [
    {"protocol": "connect", "codec": codec, "compression": compression, "use_get": use_get}
    for codec in ("proto", "json")
    for compression in (None, *ENCODINGS)
    for use_get in (False, True)
]


def echo_stub(options: dict[str, Any] | None = None, **app_options: Any) -> Any:
    return channel_for(echo_app(**app_options), **(options or {})).stub(ECHO)


def call_error(script: Script, method: str = "unary", **options: Any) -> CallError:
    """Call a server and return the error; a stream must not end without one."""
    with serve(script) as server, Channel(server.url, **{"timeout": 5, **options}) as channel:
        with pytest.raises(CallError) as caught:
            list(getattr(channel.stub(ECHO), method)(EchoRequest()))
        return caught.value
