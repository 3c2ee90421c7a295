"""Examining a running server from outside, with calls that change nothing."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass
from urllib3.util import Url

from flask_grpcweb_scm.client.channel import Channel
from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.client.http import SocketTransport, parse_base_url
from flask_grpcweb_scm.client.transport import Pairs, Request, TransportError
from flask_grpcweb_scm.rpc import codecs
from flask_grpcweb_scm.wire import CONTENT_TYPES, ContentType, StatusCode, encode_frame, encode_text, parse_content_type

__all__ = ["Finding", "examine"]

STRANGER = "https://stranger.invalid"
MAX_BODY_BYTES = 2**20
SLOW_SECONDS = 2.0
SKEW_WARNING_SECONDS = 5.0
SKEW_FAILURE_SECONDS = 300.0
"""GRPC_HMAC_MAX_AGE, unless the server has another."""

_LOCAL = {"localhost", "127.0.0.1", "::1", "[::1]"}
_REFUSALS = {StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}
_NO_ANSWERS = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
}
_READABLE = ("grpc-status", "grpc-message", "grpc-status-details-bin")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known about one side of a server."""

    level: str
    """``"ok"``, ``"warn"`` or ``"fail"``."""
    subject: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a response."""

    status: int
    headers: Mapping[str, str]
    received: float
    """When its head was there, in seconds since the epoch."""
    seconds: float
    """From the request to the head."""


class Server:
    """Sends single requests; it follows no redirects, and sends credentials to nobody but this server."""

    def __init__(self, url: str, descriptor: ServiceDescriptor, *, timeout: float, ca_certs: str | None) -> None:
        self.url: Url = parse_base_url(url)
        self.descriptor = descriptor
        self._timeout = timeout
        self._transport = SocketTransport(self.url, ca_certs=ca_certs)

    def send(self, verb: str, method: str, headers: Pairs, body: bytes = b"") -> Answer:
        """Send a request for a method of the service.

        :raises TransportError: when there is no response in time.
        """
        path = f"{(self.url.path or '').rstrip('/')}/{self.descriptor.full_name}/{method}"
        sent = time.monotonic()
        exchange = self._transport.exchange(Request(path, headers, body, sent + self._timeout, verb))
        try:
            head = exchange.start()
            seconds, received = time.monotonic() - sent, time.time()
            size = 0
            while size < MAX_BODY_BYTES and (chunk := exchange.read()):
                size += len(chunk)
        finally:
            exchange.close()
        return Answer(head.status, dict(head.headers), received, seconds)

    def close(self) -> None:
        """Close connections."""
        self._transport.close()


def examine(
    url: str,
    descriptor: ServiceDescriptor,
    *,
    open_channel: Callable[..., Channel],
    has_credentials: bool,
    origin: str | None = None,
    timeout: float = 10.0,
    ca_certs: str | None = None,
) -> Iterator[Finding]:
    """Examine a server that serves a service; when it cannot be reached, that is the only finding.

    :param open_channel: makes channels to the server, with the caller's credentials; its keyword arguments replace
        those of :class:`Channel`.
    :param has_credentials: whether these have any.
    :param origin: of a page that should be allowed to call.
    :param timeout: seconds for each request.
    :raises ValueError: when `url` is not that of a server.
    """
    server = Server(url, descriptor, timeout=timeout, ca_certs=ca_certs)
    harmless = _harmless_method(descriptor)
    try:
        first = server.send("GET", harmless.name, [])
        yield from _reachability(server, first, has_credentials)
        methods = _methods(server)
        yield methods
        if methods.level != "fail":
            yield from _content_types(server, harmless)
            yield from _authentication(open_channel, harmless, timeout, has_credentials=has_credentials)
            yield from _cross_origin(server, harmless, origin)
        yield from _clock(first)
        yield from _versions(first)
    except TransportError as error:
        advice = "Is the server running, and is this its host and port?"
        if "certificate" in str(error).lower():
            advice = "Is the certificate for this host, and of an authority you trust? --ca-certs names another."
        yield Finding("fail", "reachability", str(error), advice)
    finally:
        server.close()


def _harmless_method(descriptor: ServiceDescriptor) -> MethodDescriptor:
    """A method to call with an empty request."""
    for method in descriptor.methods:
        streams = method.client_streaming or method.server_streaming
        if not streams and method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
            return method
    raise ValueError(f"{descriptor.full_name} has no method that is declared as NO_SIDE_EFFECTS")


def _reachability(server: Server, first: Answer, has_credentials: bool) -> Iterator[Finding]:
    text = f"{server.url.host} answers in {first.seconds * 1000:.0f} ms"
    if server.url.scheme == "http" and server.url.host not in _LOCAL and has_credentials:
        yield Finding(
            "warn", "reachability", f"{text}, without TLS", "Use https: anybody on the way reads credentials."
        )
    elif first.seconds > SLOW_SECONDS:
        yield Finding("warn", "reachability", text, "Look at the server's load, and at the proxies before it.")
    else:
        yield Finding("ok", "reachability", text)


def _methods(server: Server) -> Finding:
    """GET runs no method: where there is one the answer is 405, elsewhere the path is not this service's."""
    answers = {method.name: server.send("GET", method.name, []) for method in server.descriptor.methods}
    missing = [name for name, answer in answers.items() if answer.status != 405]
    if not missing:
        return Finding("ok", "methods", f"all {len(answers)} of {server.descriptor.full_name} are served")
    if len(missing) < len(answers):
        advice = "The server is of another version than this client."
        return Finding("warn", "methods", f"not served: {', '.join(missing)}", advice)
    answer = answers[missing[0]]
    advice = "Does the URL have the path of GRPC_URL_PREFIX, and is GRPC_SCM on?"
    if 300 <= answer.status < 400:
        advice = f"It redirects to {answer.headers.get('location', '')!r}; give the URL of that server."
    return Finding("fail", "methods", f"{server.descriptor.full_name} is not here: HTTP {answer.status}", advice)


def _call(channel: Channel, method: MethodDescriptor, timeout: float) -> CallError | None:
    request: Any = GetMessageClass(method.input_type)()
    with channel:
        try:
            channel.call(method, request, timeout=timeout).result()
        except CallError as error:
            return error
    return None


def _content_types(server: Server, method: MethodDescriptor) -> Iterator[Finding]:
    broken = {}
    for name, asked in CONTENT_TYPES.items():
        answer = _post(server, method, asked)
        told = answer.headers.get("content-type", "")
        answered = parse_content_type(told)
        if answer.status != 200:
            broken[name] = f"HTTP {answer.status}"
        elif answered is None or (answered.text, answered.codec) != (asked.text, asked.codec):
            broken[name] = f"answered as {told!r}"
    if broken:
        text = ", ".join(f"{name} is {what}" for name, what in broken.items())
        yield Finding("fail", "content types", text, "Is there a proxy that changes bodies or headers?")
    else:
        yield Finding("ok", "content types", "binary and text, with proto and JSON")


def _authentication(
    open_channel: Callable[..., Channel], method: MethodDescriptor, timeout: float, *, has_credentials: bool
) -> Iterator[Finding]:
    def call(**replaced: Any) -> CallError | None:
        return _call(open_channel(**replaced), method, timeout)

    anonymous = call(token=None, hmac_secret=None, metadata=())
    if anonymous is not None and anonymous.code in _NO_ANSWERS:
        yield _credentials(anonymous, method)
        return
    closed = _is_refused(anonymous)
    if not closed:
        advice = "Set GRPC_AUTH_TOKENS or GRPC_HMAC_SECRETS, unless everybody may call."
        yield Finding("warn", "authentication", "calls without credentials are answered", advice)
    elif _is_refused(call(token="x" * 32, hmac_secret=None, metadata=())):
        yield Finding("ok", "authentication", "calls without credentials, or with wrong ones, are refused")
    else:
        yield Finding("fail", "authentication", "any token is accepted", "Look at what authenticates the calls.")
    if closed and not has_credentials:
        yield Finding("warn", "credentials", "there are none to try", "Give --token or --hmac-secret.")
    else:
        yield _credentials(call(), method)


def _credentials(error: CallError | None, method: MethodDescriptor) -> Finding:
    if _is_refused(error):
        return Finding("fail", "credentials", str(error), "Is the credential one of this server, and still good?")
    if error is not None and error.code in _NO_ANSWERS:
        return Finding("fail", "calls", str(error), "Look into the server's log; are its tables there?")
    return Finding("ok", "calls", f"an empty {method.name} is answered {error.code.name if error else 'OK'}")


def _is_refused(error: CallError | None) -> bool:
    return error is not None and error.code in _REFUSALS


def _cross_origin(server: Server, method: MethodDescriptor, origin: str | None) -> Iterator[Finding]:
    wanted = origin or STRANGER
    asked = "content-type,x-grpc-web,x-grpc-auth-token,grpc-timeout"
    preflight = server.send(
        "OPTIONS",
        method.name,
        [("origin", wanted), ("access-control-request-method", "POST"), ("access-control-request-headers", asked)],
    )
    allowed = preflight.headers.get("access-control-allow-origin")
    credentials = preflight.headers.get("access-control-allow-credentials") == "true"
    if origin is None:
        yield _strangers(allowed, credentials=credentials)
    elif allowed not in {origin, "*"}:
        yield Finding("fail", "CORS", f"pages of {origin} may not call", "Add it to GRPC_CORS_ORIGINS.")
    else:
        yield _own_pages(server, method, origin, asked, preflight)


def _strangers(allowed: str | None, *, credentials: bool) -> Finding:
    if allowed not in {STRANGER, "*"}:
        return Finding("ok", "CORS", "pages of a strange origin may not call; --origin tries one of yours")
    advice = "List the origins in GRPC_CORS_ORIGINS."
    if credentials and allowed == STRANGER:
        return Finding("fail", "CORS", "pages of every origin may call, with their users' cookies", advice)
    return Finding("warn", "CORS", "pages of every origin may call", advice)


def _own_pages(server: Server, method: MethodDescriptor, origin: str, asked: str, preflight: Answer) -> Finding:
    headers = _names(preflight.headers.get("access-control-allow-headers", ""))
    if "*" not in headers and set(asked.split(",")) - headers:
        names = ", ".join(sorted(set(asked.split(",")) - headers))
        return Finding("fail", "CORS", f"pages of {origin} may not send {names}", "Let the server allow these headers.")
    answer = _post(server, method, ContentType(False, "+proto"), [("origin", origin)])
    if answer.headers.get("access-control-allow-origin") not in {origin, "*"}:
        advice = "Does an error page of a proxy answer instead of the app?"
        return Finding("fail", "CORS", f"the preflight allows {origin}, the response does not", advice)
    missing = set(_READABLE) - _names(answer.headers.get("access-control-expose-headers", ""))
    if missing:
        names = ", ".join(sorted(missing))
        return Finding("fail", "CORS", f"pages cannot read {names}", "Let the server expose these headers.")
    return Finding("ok", "CORS", f"pages of {origin} may call, and read the status")


def _names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


def _post(server: Server, method: MethodDescriptor, content_type: ContentType, headers: Pairs | None = None) -> Answer:
    message = GetMessageClass(method.input_type)()
    frame = encode_frame(codecs()[content_type.codec].encode(message))
    sent = [("content-type", str(content_type)), ("x-grpc-web", "1"), *(headers or ())]
    return server.send("POST", method.name, sent, encode_text(frame) if content_type.text else frame)


def _clock(first: Answer) -> Iterator[Finding]:
    try:
        told = email.utils.parsedate_to_datetime(first.headers["date"]).timestamp()
    except (KeyError, ValueError):
        yield Finding("warn", "clock", "the server does not tell its time", "Signatures need clocks that agree.")
        return
    # The header has whole seconds; on average half of one is cut off.
    skew = told + 0.5 - (first.received - first.seconds / 2)
    text = f"the server's is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) >= SKEW_FAILURE_SECONDS:
        yield Finding("fail", "clock", text, "Signed requests are refused; synchronise both clocks, with NTP.")
    elif abs(skew) >= SKEW_WARNING_SECONDS:
        yield Finding("warn", "clock", text, "Synchronise both clocks, with NTP.")
    else:
        yield Finding("ok", "clock", "the server's agrees with this one")


def _versions(first: Answer) -> Iterator[Finding]:
    own = f"this client is {metadata.version('flask_grpcweb_scm')}"
    server = first.headers.get("server", "")
    if "werkzeug" in server.lower():
        advice = "Serve with gunicorn or granian; this server is for development."
        yield Finding("warn", "versions", f"{own}, the server calls itself {server!r}", advice)
    elif any(character.isdigit() for character in server):
        advice = "Strangers need not know versions: hide the Server header."
        yield Finding("warn", "versions", f"{own}, the server calls itself {server!r}", advice)
    else:
        yield Finding("ok", "versions", f"{own}, the server tells {f'{server!r} alone' if server else 'none'}")
