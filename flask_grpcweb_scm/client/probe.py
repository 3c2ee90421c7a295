"""Single requests to a server that is examined, and the protocols that it speaks."""

from __future__ import annotations

import http
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass
from urllib3.util import Url

from flask_grpcweb_scm.client.http import Pairs, Request, SocketTransport, parse_base_url
from flask_grpcweb_scm.rpc import codecs
from flask_grpcweb_scm.wire import (
    CONNECT_VERSION,
    CONTENT_TYPES,
    ConnectType,
    ContentType,
    code_name,
    decode_connect_error,
    encode_frame,
    encode_query,
    encode_text,
    parse_connect_type,
    parse_content_type,
)

__all__ = ["CONNECT_HEADER", "Diagnosis", "Probe", "ProbeResponse", "around", "connect", "grpc_web", "post_grpc_web"]

MAX_BODY_BYTES = 2**20
LONG_BODY_BYTES = 3 * 2**20
"""More than the default of nginx, and fewer than that of GRPC_MAX_MESSAGE_BYTES, also in base64."""
METRICS_PATH = "/metrics"
CONNECT_WAYS = (("proto", "POST"), ("json", "POST"), ("proto", "GET"), ("json", "GET"))
CONNECT_HEADER = ("connect-protocol-version", CONNECT_VERSION)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check of a server."""

    level: str
    """``"ok"``, ``"warn"`` or ``"fail"``."""
    subject: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """The head of a response, and its timing."""

    status: int
    headers: Mapping[str, str]
    received: float
    """Arrival of the head, in seconds since the epoch."""
    seconds: float
    """From the request to the head."""
    body: bytes
    """Cut after a mebibyte."""


class Probe:
    """Sends single requests; it follows no redirects, and sends credentials to this server only."""

    def __init__(self, url: str, descriptor: ServiceDescriptor, *, timeout: float, ca_certs: str | None) -> None:
        self.url: Url = parse_base_url(url)
        self.descriptor = descriptor
        self._timeout = timeout
        self._transport = SocketTransport(self.url, ca_certs=ca_certs)

    def send(self, verb: str, method: str, headers: Pairs, body: bytes = b"") -> ProbeResponse:
        """Send a request for a method of the service.

        :param method: its name, perhaps with a query.
        :raises TransportError: when there is no response in time.
        """
        return self.request(verb, f"/{self.descriptor.full_name}/{method}", headers, body)

    def request(self, verb: str, path: str, headers: Pairs, body: bytes = b"") -> ProbeResponse:
        """Send a request for a path below that of the URL, as :meth:`send`."""
        path = f"{(self.url.path or '').rstrip('/')}{path}"
        sent = time.monotonic()
        exchange = self._transport.exchange(Request(path, headers, body, sent + self._timeout, verb))
        try:
            head = exchange.start()
            seconds, received = time.monotonic() - sent, time.time()
            body = b""
            while len(body) < MAX_BODY_BYTES and (chunk := exchange.read()):
                body += chunk
        finally:
            exchange.close()
        return ProbeResponse(head.status, dict(head.headers), received, seconds, body)

    def close(self) -> None:
        """Close connections."""
        self._transport.close()


def around(server: Probe) -> Iterator[Diagnosis]:
    """Look at what a proxy before the app lets through: requests that are too long for it, and pages of our own."""
    body = bytes(LONG_BODY_BYTES)
    # Of no protocol: the app refuses it, and reads nothing of it.
    response = server.send("POST", server.descriptor.methods[0].name, [("content-type", "application/x-doctor")], body)
    if response.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        text = f"a request of {LONG_BODY_BYTES // 2**20} MiB is refused with HTTP 413"
        advice = "Raise the limit of the proxy to GRPC_MAX_MESSAGE_BYTES and a third: client_max_body_size of nginx."
        yield Diagnosis("warn", "proxy", text, advice)
    page = server.request("GET", METRICS_PATH, [])
    if page.status == http.HTTPStatus.OK and b"grpc_server_" in page.body:
        advice = "Refuse the path in the proxy: it is for Prometheus."
        yield Diagnosis("warn", "proxy", f"everybody may read the metrics at {METRICS_PATH}", advice)


def grpc_web(server: Probe, method: MethodDescriptor, *, is_wanted: bool) -> Diagnosis:
    """Call a method in gRPC-Web, with an empty request of each content type.

    :param is_wanted: false when a server may be without this protocol.
    """
    wrong = []
    for name, sent in CONTENT_TYPES.items():
        response = post_grpc_web(server, method, sent)
        header = response.headers.get("content-type", "")
        received = parse_content_type(header)
        if response.status != 200:
            wrong.append(f"the response to {name} is HTTP {response.status}")
        elif received is None or (received.text, received.codec) != (sent.text, sent.codec):
            wrong.append(f"the response to {name} is {header!r}")
    return _protocol("gRPC-Web", "binary and text, with proto and JSON", wrong, len(CONTENT_TYPES), is_wanted)


def post_grpc_web(
    server: Probe, method: MethodDescriptor, content_type: ContentType, headers: Sequence[tuple[str, str]] = ()
) -> ProbeResponse:
    """Call a method in gRPC-Web, with an empty request."""
    message = GetMessageClass(method.input_type)()
    frame = encode_frame(codecs()[content_type.codec].encode(message))
    sent = [("content-type", str(content_type)), ("x-grpc-web", "1"), *headers]
    return server.send("POST", method.name, sent, encode_text(frame) if content_type.text else frame)


def connect(server: Probe, method: MethodDescriptor, *, is_wanted: bool) -> Diagnosis:
    """Call a method in Connect, with an empty request of each content type; see :func:`grpc_web`.

    One without side effects is called by POST and by GET, as it has to be served then.
    """
    wrong = []
    is_safe = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    ways = [(codec, verb) for codec, verb in CONNECT_WAYS if is_safe or verb == "POST"]
    for codec, verb in ways:
        sent, payload = ConnectType(codec, False), codecs()[codec].encode(GetMessageClass(method.input_type)())
        if verb == "GET":
            response = server.send("GET", f"{method.name}?{encode_query(codec, payload)}", [])
        else:
            response = server.send("POST", method.name, [("content-type", str(sent)), CONNECT_HEADER], payload)
        header = response.headers.get("content-type", "")
        expected = sent if response.status == 200 else ConnectType("json", False)
        if response.status != 200 and not _has_error(response):
            wrong.append(f"the response to {verb} of {sent} is HTTP {response.status}")
        elif parse_connect_type(header) != expected:
            wrong.append(f"the response to {verb} of {sent} is {header!r}")
    text = f"POST{' and GET' if is_safe else ''}, with proto and JSON"
    return _protocol("Connect", text, wrong, len(ways), is_wanted)


def _has_error(response: ProbeResponse) -> bool:
    code = decode_connect_error(response.body, response.status).code
    return f'"{code_name(code)}"'.encode() in response.body


def _protocol(name: str, text: str, wrong: Sequence[str], ways: int, is_wanted: bool) -> Diagnosis:
    # 405 is for GET.
    is_absent = len(wrong) == ways and all(each.endswith((" HTTP 405", " HTTP 415")) for each in wrong)
    if is_absent and not is_wanted:
        return Diagnosis("ok", name, "not served")
    if is_absent:
        return Diagnosis("fail", name, f"not served: {wrong[0]}", "Is it in GRPC_PROTOCOLS? --protocol names another.")
    if wrong:
        return Diagnosis("fail", name, ", ".join(wrong), "Is there a proxy that changes bodies or headers?")
    return Diagnosis("ok", name, text)
