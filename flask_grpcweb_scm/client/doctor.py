"""Checks of a running server from outside, by calls that change nothing."""

from __future__ import annotations

import email.utils
import http
import ssl
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import urllib3
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.client.channel import Channel
from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.client.http import TransportError
from flask_grpcweb_scm.client.probe import (
    CONNECT_HEADER,
    Diagnosis,
    Probe,
    ProbeResponse,
    around,
    connect,
    grpc_web,
    post_grpc_web,
)
from flask_grpcweb_scm.pb import health_pb2, scm_pb2
from flask_grpcweb_scm.rpc import did_you_mean
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS
from flask_grpcweb_scm.wire import ContentType, StatusCode

__all__ = ["Diagnosis", "examine"]

STRANGER = "https://stranger.invalid"
SLOW_SECONDS = 2.0
SKEW_WARNING_SECONDS = 5.0
SKEW_FAILURE_SECONDS = 300.0
"""GRPC_HMAC_MAX_AGE, unless the server has another."""
UNKNOWN_CODEC = "?encoding=none"
"""A query that no server of Connect takes for a call; others ignore it."""
SCM = scm_pb2.DESCRIPTOR.services_by_name["ScmService"].full_name
AGAIN = "Run this again when the server's limits have room."

_LOCAL = {"localhost", "127.0.0.1", "::1", "[::1]"}
_REFUSALS = {StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}
_BROKEN = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
}
# Headers of pages' requests, and of the responses to them.
_REQUESTED = {
    "grpc-web": {"content-type", "x-grpc-web", "x-grpc-auth-token", "grpc-timeout"},
    "connect": {"content-type", "connect-protocol-version", "x-grpc-auth-token", "connect-timeout-ms"},
}
_READABLE: dict[str, set[str]] = {
    "grpc-web": {"grpc-status", "grpc-message", "grpc-status-details-bin"},
    "connect": set(),
}


def examine(
    url: str,
    descriptor: ServiceDescriptor,
    *,
    open_channel: Callable[..., Channel],
    has_credentials: bool,
    protocol: str = HTTP1_PROTOCOLS[0],
    called: str | None = None,
    origin: str | None = None,
    timeout: float = 10.0,
    ca_certs: str | None = None,
) -> Iterator[Diagnosis]:
    """Examine a server of a service; a server that cannot be reached has that result only.

    :param open_channel: opens a channel to the server with the user's credentials; keyword arguments replace those of
        :class:`Channel`.
    :param has_credentials: the user gave a token, a secret or metadata.
    :param protocol: that the user speaks; the server may have others or not.
    :param called: name of a method that may be called with an empty request; by default one that is declared as
        NO_SIDE_EFFECTS. Without one, nothing is called.
    :param origin: of a page that should be allowed to call.
    :param timeout: seconds for each request.
    :raises ValueError: when `url` is not that of a server, or `called` no unary method of the service.
    """
    server = Probe(url, descriptor, timeout=timeout, ca_certs=ca_certs)
    harmless = _harmless_method(descriptor, called)
    try:
        first = server.send("GET", descriptor.methods[0].name + UNKNOWN_CODEC, [])
        yield from _reachability(server, first, has_credentials)
        methods = _methods(server, timeout)
        yield methods
        if methods.level != "fail" and harmless is None:
            advice = "Name one that may be called with an empty request, by --method."
            yield Diagnosis("warn", "calls", "no method is declared as NO_SIDE_EFFECTS: none is called", advice)
        elif methods.level != "fail" and harmless is not None:
            yield grpc_web(server, harmless, is_wanted=protocol == "grpc-web")
            yield connect(server, harmless, is_wanted=protocol == "connect")
            yield from _authentication(open_channel, harmless, timeout, has_credentials=has_credentials)
            yield from _health(open_channel(token=None, hmac_secret=None, metadata=()), timeout)
        if methods.level != "fail":
            yield from _cross_origin(server, harmless, origin, protocol)
            yield from around(server)
        yield from _clock(first)
        yield from _versions(first)
    except TransportError as error:
        yield Diagnosis("fail", "reachability", str(error), _unreachable_advice(server, error, timeout))
    finally:
        server.close()


def _harmless_method(descriptor: ServiceDescriptor, name: str | None) -> MethodDescriptor | None:
    """Find a unary method to call with an empty request: the one with a name, or one without side effects."""
    if not descriptor.methods:
        raise ValueError(f"{descriptor.full_name} has no methods")
    unary = {
        method.name: method for method in descriptor.methods if not (method.client_streaming or method.server_streaming)
    }
    if name is not None:
        if name not in unary:
            near = did_you_mean(name, unary)
            raise ValueError(f"{descriptor.full_name} has no unary method {name!r}{near}")
        return unary[name]
    harmless = (each for each in unary.values() if each.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)
    return next(harmless, None)


def _unreachable_advice(server: Probe, error: TransportError, timeout: float) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return "Is the certificate for this host, and of an authority you trust? --ca-certs names another."
    waited = isinstance(error.__cause__, (TimeoutError, urllib3.exceptions.TimeoutError))
    return (
        "" if waited else _scheme_advice(server, timeout)
    ) or "Is the server running, and is this its host and port?"


def _scheme_advice(server: Probe, timeout: float) -> str:
    """Advise to use https for http, or the other way about, if the port speaks that."""
    other = server.url._replace(scheme="http" if server.url.scheme == "https" else "https")
    name = "plain HTTP" if other.scheme == "http" else "TLS"
    probe = Probe(other.url, server.descriptor, timeout=timeout, ca_certs=None)
    try:
        probe.send("GET", "", [])
    except TransportError as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return ""
    finally:
        probe.close()
    return f"The server speaks {name} there: is its URL {other.url}?"


def _reachability(server: Probe, first: ProbeResponse, has_credentials: bool) -> Iterator[Diagnosis]:
    text = f"{server.url.host} responds in {first.seconds * 1000:.0f} ms"
    if server.url.scheme == "http" and server.url.host not in _LOCAL and has_credentials:
        yield Diagnosis(
            "warn", "reachability", f"{text}, without TLS", "Use https: without it, the network can read credentials."
        )
    elif first.seconds > SLOW_SECONDS:
        yield Diagnosis("warn", "reachability", text, "Look at the server's load, and at the proxies before it.")
    else:
        yield Diagnosis("ok", "reachability", text)


def _methods(server: Probe, timeout: float) -> Diagnosis:
    """Look for methods by GET, which runs none.

    The response is 405 for a method, 415 for one that Connect may call by GET, and another status for other paths.
    """
    names = [method.name for method in server.descriptor.methods]
    responses = {name: server.send("GET", name + UNKNOWN_CODEC, []) for name in names}
    served = {name for name, response in responses.items() if response.status in {405, 415}}
    missing = [name for name in names if name not in served]
    if not missing:
        return Diagnosis("ok", "methods", f"all {len(responses)} of {server.descriptor.full_name} are served")
    failed = [response for response in responses.values() if response.status >= 500]
    if served and not failed:
        advice = "The server and this client are of different versions."
        return Diagnosis("warn", "methods", f"not served: {', '.join(missing)}", advice)
    response = failed[0] if failed else responses[missing[0]]
    text = f"{server.descriptor.full_name} is not here: {_status_text(response)}"
    return Diagnosis("fail", "methods", text, _missing_advice(server, response, timeout))


def _status_text(response: ProbeResponse) -> str:
    try:
        phrase = f" {http.HTTPStatus(response.status).phrase}"
    except ValueError:
        phrase = ""
    sender = response.headers.get("server")
    return f"HTTP {response.status}{phrase}{f', of {sender!r}' if sender and response.status >= 500 else ''}"


def _missing_advice(server: Probe, response: ProbeResponse, timeout: float) -> str:
    status = response.status
    if 300 <= status < 400:
        return f"It redirects to {response.headers.get('location', '')!r}; give the URL of that server."
    if status in {502, 503, 504}:
        return "Is the app running, where the proxy before it looks for it? The proxy's log says more."
    if status >= 500:
        return "Read the log of the server, and that of the proxy before it, if there is one."
    if status in {401, 403, 407}:
        return "A proxy, or a hook of the app, refuses requests without a login of its own."
    if status == 429:
        return AGAIN
    wrong_scheme = _scheme_advice(server, timeout) if status == 400 and server.url.scheme == "http" else ""
    # GRPC_SCM is the app's word for one service, services= for all others.
    where = "GRPC_SCM on" if server.descriptor.full_name == SCM else "the service one of GrpcWebScm(services=…)"
    return wrong_scheme or f"Does the URL have the path of GRPC_URL_PREFIX, and is {where}?"


def _call(channel: Channel, method: MethodDescriptor, timeout: float) -> CallError | None:
    request: Any = GetMessageClass(method.input_type)()
    with channel:
        try:
            channel.call(method, request, timeout=timeout).result()
        except CallError as error:
            return error
    return None


def _authentication(
    open_channel: Callable[..., Channel], method: MethodDescriptor, timeout: float, *, has_credentials: bool
) -> Iterator[Diagnosis]:
    def call(**replaced: Any) -> CallError | None:
        return _call(open_channel(**replaced), method, timeout)

    anonymous = call(token=None, hmac_secret=None, metadata=())
    if anonymous is not None and anonymous.code in _BROKEN:
        yield _credentials(anonymous, method)
        return
    closed = _is_refused(anonymous)
    wrong = call(token="x" * 32, hmac_secret=None, metadata=()) if closed else anonymous
    if _is_limited(wrong):
        # Calls of strangers and wrong credentials are counted: a call over the limit is refused whatever it brings.
        yield Diagnosis("warn", "authentication", f"cannot be examined: {wrong}", AGAIN)
    elif not closed:
        advice = "Set GRPC_AUTH_TOKENS, GRPC_TOKEN_SECRETS or GRPC_HMAC_SECRETS, unless calls are public."
        yield Diagnosis("warn", "authentication", "calls without credentials are accepted", advice)
    elif _is_refused(wrong):
        yield Diagnosis("ok", "authentication", "calls without credentials or with wrong ones are refused")
    else:
        yield Diagnosis("fail", "authentication", "any token is accepted", "Correct the server's authenticator.")
    if closed and not has_credentials:
        yield Diagnosis("warn", "credentials", "no credentials given", "Give --token or --hmac-secret.")
    else:
        yield _credentials(call(), method)


def _credentials(error: CallError | None, method: MethodDescriptor) -> Diagnosis:
    if _is_refused(error):
        return Diagnosis("fail", "credentials", str(error), "Is the credential for this server, and still valid?")
    if error is not None and error.code in _BROKEN:
        return Diagnosis("fail", "calls", str(error), "Read the server's log; do its tables exist?")
    if _is_limited(error):
        return Diagnosis("warn", "calls", str(error), AGAIN)
    return Diagnosis(
        "ok",
        "calls",
        f"an empty {method.name} ends with {error.code.name if error else 'OK'} ({int(error.code) if error else 0})",
    )


def _health(channel: Channel, timeout: float) -> Iterator[Diagnosis]:
    """Look at the health of a server that tells it."""
    method = health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name["Check"]
    with channel:
        try:
            response: Any = channel.call(method, health_pb2.HealthCheckRequest(), timeout=timeout).result()
        except CallError:
            return
    if response.status == health_pb2.HealthCheckResponse.SERVING:
        yield Diagnosis("ok", "health", "the server is ready")
    else:
        advice = "Read the server's log, which names the check that fails; or is the server about to stop?"
        yield Diagnosis("fail", "health", "the server is not ready", advice)


def _is_refused(error: CallError | None) -> bool:
    return error is not None and error.code in _REFUSALS


def _is_limited(error: CallError | None) -> bool:
    return error is not None and error.code is StatusCode.RESOURCE_EXHAUSTED


def _cross_origin(
    server: Probe, method: MethodDescriptor | None, origin: str | None, protocol: str
) -> Iterator[Diagnosis]:
    wanted = origin or STRANGER
    requested = ",".join(_REQUESTED[protocol])
    preflight = server.send(
        "OPTIONS",
        server.descriptor.methods[0].name,
        [("origin", wanted), ("access-control-request-method", "POST"), ("access-control-request-headers", requested)],
    )
    allowed = preflight.headers.get("access-control-allow-origin")
    credentials = preflight.headers.get("access-control-allow-credentials") == "true"
    if origin is None:
        yield _strangers(allowed, credentials=credentials)
    elif allowed not in {origin, "*"}:
        yield Diagnosis("fail", "CORS", f"pages of {origin} may not call", "Add it to GRPC_CORS_ORIGINS.")
    else:
        yield _own_pages(server, method, origin, protocol, preflight)


def _strangers(allowed: str | None, *, credentials: bool) -> Diagnosis:
    if allowed not in {STRANGER, "*"}:
        return Diagnosis("ok", "CORS", "pages of an unknown origin may not call; --origin tries one of yours")
    advice = "List the origins in GRPC_CORS_ORIGINS."
    if credentials and allowed == STRANGER:
        return Diagnosis("fail", "CORS", "pages of every origin may call, with their users' cookies", advice)
    return Diagnosis("warn", "CORS", "pages of every origin may call", advice)


def _own_pages(
    server: Probe, method: MethodDescriptor | None, origin: str, protocol: str, preflight: ProbeResponse
) -> Diagnosis:
    headers = _names(preflight.headers.get("access-control-allow-headers", ""))
    refused = _REQUESTED[protocol] - headers
    if "*" not in headers and refused:
        names = ", ".join(sorted(refused))
        return Diagnosis(
            "fail", "CORS", f"pages of {origin} may not send {names}", "Let the server allow these headers."
        )
    if method is None:
        return Diagnosis("ok", "CORS", f"pages of {origin} may call")
    if protocol == "connect":
        sent = [("content-type", "application/json"), CONNECT_HEADER, ("origin", origin)]
        response = server.send("POST", method.name, sent, b"{}")
    else:
        response = post_grpc_web(server, method, ContentType(False, "+proto"), [("origin", origin)])
    if response.headers.get("access-control-allow-origin") not in {origin, "*"}:
        advice = "Is the response an error page of a proxy, not of the app?"
        return Diagnosis("fail", "CORS", f"the preflight allows {origin}, the response does not", advice)
    missing = _READABLE[protocol] - _names(response.headers.get("access-control-expose-headers", ""))
    if missing:
        names = ", ".join(sorted(missing))
        return Diagnosis("fail", "CORS", f"pages cannot read {names}", "Let the server expose these headers.")
    return Diagnosis("ok", "CORS", f"pages of {origin} may call, and read the status")


def _names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


def _clock(first: ProbeResponse) -> Iterator[Diagnosis]:
    try:
        date = email.utils.parsedate_to_datetime(first.headers["date"]).timestamp()
    except (LookupError, ValueError, ArithmeticError, TypeError, OSError):
        yield Diagnosis("warn", "clock", "the response has no Date header", "Signatures need clocks that agree.")
        return
    # The header has whole seconds: it is half a second behind on average.
    skew = date + 0.5 - (first.received - first.seconds / 2)
    text = f"the server's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) >= SKEW_FAILURE_SECONDS:
        yield Diagnosis("fail", "clock", text, "Signed requests are refused; synchronise both clocks, with NTP.")
    elif abs(skew) >= SKEW_WARNING_SECONDS:
        yield Diagnosis("warn", "clock", text, "Synchronise both clocks, with NTP.")
    else:
        yield Diagnosis("ok", "clock", "the server's clock agrees with this one")


def _versions(first: ProbeResponse) -> Iterator[Diagnosis]:
    own = f"this client is {metadata.version('flask_grpcweb_scm')}"
    server = first.headers.get("server", "")
    if "werkzeug" in server.lower():
        advice = "Serve with gunicorn or granian; this server is for development."
        yield Diagnosis("warn", "versions", f"{own}, the Server header is {server!r}", advice)
    elif any(character.isdigit() for character in server):
        advice = "Hide the Server header: versions help attackers."
        yield Diagnosis("warn", "versions", f"{own}, the Server header is {server!r}", advice)
    else:
        yield Diagnosis("ok", "versions", f"{own}, the server hides its own")
