"""Our client, in an environment of its own: ``python -m tests.peers.call URL OPTIONS`` prints what it gets as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from flask_grpcweb_scm.client import CallError, Channel
from tests.echo_pb2 import DESCRIPTOR, EchoRequest


def main(url: str, options: dict[str, Any]) -> None:
    with Channel(url, timeout=20, **options) as channel:
        stub = channel.stub(DESCRIPTOR.services_by_name["Echo"])
        unary = channel.stub(DESCRIPTOR.services_by_name["Lookup"]).find if options.get("use_get") else stub.unary
        reply, call = unary.with_call(EchoRequest(text="hi" * 1000), metadata={"x-mine": "a"})
        results: dict[str, Any] = {
            "unary": [reply.text, call.initial_metadata.get("x-mine"), call.trailing_metadata.get("x-trailing")],
            "stream": [reply.number for reply in stub.server_stream(EchoRequest(count=3))],
            "errors": [error_of(unary, "fail"), error_of(stub.server_stream, "torn"), error_of(stub.missing, "")],
        }
    sys.stdout.write(json.dumps(results))


def error_of(method: Any, text: str) -> list[Any]:
    try:
        list(method(EchoRequest(text=text, count=1)))
    except CallError as error:
        return [int(error.code), error.message]
    raise AssertionError("no error")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
