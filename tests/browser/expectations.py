"""What every client must see in every case, and where a client differs because it cannot do better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.browser.app import NON_ASCII

__all__ = ["CASES", "CLIENTS", "DIFFERENCES", "MISTAKES", "SERVERS", "Case", "Client", "Difference", "expected"]


@dataclass(frozen=True)
class Client:
    """A client library in one of its formats."""

    name: str
    package: str
    sends: str
    """The content type of its requests, or more."""
    on_abort: str
    """What it reports to the page that aborts a call."""
    protocol: str = "gRPC-Web"


@dataclass(frozen=True)
class Case:
    """A function of page/cases.js, and the facts it answers."""

    name: str
    title: str
    """For the compatibility page."""
    facts: Any


@dataclass(frozen=True)
class Difference:
    """What a client sees instead, for a reason that no server can do away with."""

    facts: Any
    mark: str
    """Stands in the matrix."""
    reason: str


SERVERS = ("gunicorn", "pyvoy")

CLIENTS = (
    Client("connect-web", "@connectrpc/connect-web", "application/grpc-web+proto", "Canceled"),
    Client("connect-web JSON", "@connectrpc/connect-web", "application/grpc-web+json", "Canceled"),
    Client("grpc-web text", "grpc-web", "application/grpc-web-text", "nothing"),
    Client("grpc-web binary", "grpc-web", "application/grpc-web+proto", "nothing"),
    Client("grpc-web generated", "google-protobuf", "application/grpc-web-text", "nothing"),
    Client("protobuf-ts text", "@protobuf-ts/grpcweb-transport", "application/grpc-web-text", "CANCELLED"),
    Client("protobuf-ts binary", "@protobuf-ts/grpcweb-transport", "application/grpc-web+proto", "CANCELLED"),
    Client("nice-grpc-web", "nice-grpc-web", "application/grpc-web+proto", "AbortError"),
    Client("Connect JSON", "@connectrpc/connect-web", "application/json", "Canceled", "Connect"),
    Client("Connect binary", "@connectrpc/connect-web", "application/proto", "Canceled", "Connect"),
    Client("Connect GET", "@connectrpc/connect-web", "GET …?encoding=json", "Canceled", "Connect"),
    Client("Connect binary GET", "@connectrpc/connect-web", "GET …?encoding=proto", "Canceled", "Connect"),
)

_VIOLATIONS = [{"field": "text", "description": NON_ASCII}]
_NOT_FOUND = {"code": 5, "message": NON_ASCII, "violations": _VIOLATIONS}
_DATA_LOSS = {"numbers": [0, 1, 2], "code": 15, "message": NON_ASCII, "violations": _VIOLATIONS}
_BYTES = [0, 1, 127, 128, 254, 255]
_TRAILERS = {"x-trailing": "ASCII, text", "x-trailing-bin": _BYTES}
_METADATA = {"headers": {"x-initial": "ASCII, text", "x-initial-bin": _BYTES}, "trailers": _TRAILERS}

CASES = (
    Case("unary", "Unary call", {"text": "GRÖSSE", "number": 7}),
    Case("empty_message", "Unary call with empty messages", {"text": "", "number": 0}),
    Case("stream", "Server stream, each message as it is produced", ["on time"] * 4),
    Case("large_stream", "Server stream of 300 kB messages", [150_000] * 4),
    Case("error", "Error with details and a non-ASCII message", _NOT_FOUND),
    Case("error_after_messages", "The same after messages", _DATA_LOSS),
    Case("error_metadata", "The same with metadata", {**_NOT_FOUND, "trailers": _TRAILERS}),
    Case("metadata", "Metadata both ways, ASCII and binary", _METADATA),
    Case("stream_metadata", "The same on a stream", _METADATA),
    Case("cookie", "Cookies, with GRPC_CORS_CREDENTIALS", "page"),
    Case("deadline", "Deadline set by the page", {"code": 4, "received": True}),
    Case("deadline_of_server", "Deadline set by the server, on a stream", {"code": 4, "messages": True}),
    Case("abort", "Abort closes the generator within a second", {"closed": True, "soon": True, "code": "CANCELLED"}),
    Case("refused", "Wrong token: UNAUTHENTICATED", {"code": 16, "explained": True}),
    Case("stream_refused", "The same on a stream", {"code": 16, "explained": True}),
    Case("refused_by_app", "abort(401) in before_request: UNAUTHENTICATED", {"code": 16}),
    Case("unimplemented", "Method without a function: UNIMPLEMENTED", {"code": 12}),
    Case("unknown", "Method that is not served: UNIMPLEMENTED", {"code": 12, "explained": True}),
)

_AT_END = "gives the messages of a stream to the page when it has ended"
_IN_PAGE = "counts the time in the page and does not send it to the server"
_PERCENT_CODED = "gr%C3%B6%C3%9Fer als 100 %25: %E7%8C%AB %F0%9F%90%88"
_UNDECODED = "leaves the message percent-coded; the `google.rpc.Status` in the details has it decoded"

DIFFERENCES = {
    ("grpc-web binary", "stream"): Difference(["on time", "late", "late", "late"], "at the end", _AT_END),
    ("nice-grpc-web", "deadline"): Difference({"code": 4, "received": False}, "in the page", _IN_PAGE),
    **{
        (client.name, case.name): Difference(case.facts | {"message": _PERCENT_CODED}, "undecoded", _UNDECODED)
        for client in CLIENTS
        for case in CASES
        if client.name.startswith("protobuf-ts") and case.name.startswith("error")
    },
}

MISTAKES = {
    "wrong_content_type": {"http": 415, "status": "12", "explained": True},
    "wrong_verb": {"http": 405, "status": "12", "explained": True},
    "get_of_effects": {"http": 405, "status": "12", "explained": True},
    "foreign_origin": {"unread": "opaque", "call": "TypeError"},
}


def expected(server: str, client: Client, case: Case) -> Any:
    """The facts that the case must answer with this server and client."""
    difference = DIFFERENCES.get((client.name, case.name))
    if difference:
        return difference.facts
    if case.name != "abort":
        return case.facts
    # pyvoy does not say that a client has gone: the stream runs on to its end or its deadline.
    facts = {"closed": False, "soon": False, "code": ""} if server == "pyvoy" else case.facts
    return {**facts, "reported": client.on_abort}
