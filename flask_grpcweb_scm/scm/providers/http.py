"""HTTP client for the APIs of providers, within bounds that a hostile server cannot move.

A request has one deadline, from resolving the name to the last byte of the body. It goes to an address that was
checked, through no proxy but the configured one, and to no other host whatever the response says.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import http.client
import json
import logging
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urljoin

import urllib3
from urllib3.util import Url, parse_url

from flask_grpcweb_scm.observe import observed_work
from flask_grpcweb_scm.scm.providers import (
    Credential,
    CredentialRefused,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    Tokens,
)
from flask_grpcweb_scm.scm.providers.host_errors import HOST, MOVED, SIGNED_OUT, HostErrors
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply, default_complaint, short_line
from flask_grpcweb_scm.scm.providers.sockets import (
    IPAddress,
    ProxyRefused,
    alarm,
    connect_to_first,
    make_connection,
    may_be_called,
    open_tunnel,
    resolve,
)
from flask_grpcweb_scm.scm.providers.urls import host_of, is_below, port_of

__all__ = ["HttpClient"]

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**10
MAX_BODY_BYTES = 8 * 2**20
MAX_REDIRECTS = 3
ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.25

IDEMPOTENT = frozenset({"GET", "HEAD"})
TRY_AGAIN_LATER = (ProviderRateLimited, ProviderUnavailable)

SIGN_IN = re.compile(rb"""type=["']?password|\b(?:sign|log)[ _-]?in\b""", re.IGNORECASE)
Query = Mapping[str, str | int | Sequence[str]]
"""Parameters; one with several values comes as often."""

_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ERRORS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class HttpClient:
    """One API, for the length of one RPC.

    :param base_url: such as ``https://api.github.com``; every request goes below it.
    :param provider: kind of host, for messages.
    :param authorization: the header of that name; empty for none.
    :param credential: the secret in `authorization`, which is kept out of messages.
    :param headers: to send with every request.
    :param allowed_hosts: names of hosts that may have private addresses and ``http`` without TLS, in lower case.
    :param deadline: an instant of :func:`time.monotonic`.
    :param explain: reads the JSON that came with an error status.
    :param error_kind: returns the class of an error by that JSON; None for that of its status.
    :param proxy: URL of a proxy that is told the address to connect to; empty for none.
    :raises ProviderMisconfigured: for a base URL that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        deadline: float,
        authorization: str = "",
        credential: Credential | None = None,
        headers: Mapping[str, str] | None = None,
        allowed_hosts: Collection[str] = (),
        explain: Callable[[Any], Complaint] | None = None,
        error_kind: Callable[[Any], type[ProviderError] | None] | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        proxy: str = "",
    ) -> None:
        self.provider = provider
        self.deadline = deadline
        self.tokens: Tokens | None = None
        """In place of `authorization`."""
        self._proxy = parse_url(proxy) if proxy else None
        self._allowed_hosts = allowed_hosts
        self.credential = credential or Credential()
        """The secret of the last request."""
        self._errors = HostErrors(provider, explain or default_complaint, error_kind)
        self._max_body_bytes = max_body_bytes
        self._base = self._parse_base(base_url)
        self._host = host_of(self._base)
        self._errors.host = self.host or self._host
        self._port = port_of(self._base)
        self._headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # so that what is counted is what is kept
            "user-agent": "flask_grpcweb_scm",
            **(headers or {}),
        }
        if authorization:
            self._headers["authorization"] = authorization

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext | None:
        # Once, because it reads all certificates of the system; and not where nothing is requested.
        return ssl.create_default_context() if self._base.scheme == "https" else None

    @property
    def host(self) -> str:
        """Name of the host, with its port unless that is the default."""
        return self._base.netloc or ""

    def without(self, suffix: str) -> HttpClient:
        """Return a client of the same account whose base URL does not end in `suffix`: for an API beside this one."""
        other = copy.copy(self)
        other._base = self._base._replace(path=(self._base.path or "").rstrip("/").removesuffix(suffix))
        return other

    def get(self, path: str, *, query: Query | None = None, etag: str = "") -> HttpReply:
        """Send a GET request; see :meth:`request`.

        :param etag: of a response that is known; the status is 304 when it would be the same again.
        """
        return self.request("GET", path, query=query, etag=etag)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        json: Any = None,
        content_type: str = "application/json",
        etag: str = "",
    ) -> HttpReply:
        """Send a request and read the response; only GET and HEAD are retried, and what an old token was refused for.

        :param path: below the base URL, percent-encoded: see :func:`path_of` of addresses.
        :param json: the body, unless None.
        :raises ProviderError: unless the response is a success.
        """
        target = (self._base.path or "").rstrip("/") + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = dict(self._headers)
        body = None
        if json is not None:
            body, headers["content-type"] = _as_json(json).encode("utf-8", "replace"), content_type
        if etag:
            headers["if-none-match"] = etag
        if self.tokens is None:
            return self._send(method, target, body, headers)
        authorized = self._authorized(headers, self.tokens.current())
        try:
            return self._send(method, target, body, authorized)
        except CredentialRefused:
            renewed = self.tokens.renewed(self.credential)
            return self._send(method, target, body, self._authorized(headers, renewed))

    def _authorized(self, headers: Mapping[str, str], credential: Credential) -> Mapping[str, str]:
        self.credential = credential
        return {**headers, "authorization": credential.authorization()}

    def _send(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> HttpReply:
        for attempt in range(ATTEMPTS):
            try:
                return self._follow(method, target, body, headers)
            except TRY_AGAIN_LATER as error:
                pause = _pause(attempt, error)
                last = attempt == ATTEMPTS - 1 or time.monotonic() + pause >= self.deadline
                if method not in IDEMPOTENT or last:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _parse_base(self, base_url: object) -> Url:
        try:
            url = parse_url(base_url) if isinstance(base_url, str) else Url()
        except urllib3.exceptions.LocationParseError:
            url = Url()
        if url.scheme not in {"http", "https"} or not url.host or url.auth or url.query or url.fragment:
            # Not repeated: it may have a password.
            text = "base_url is not a URL such as https://host/path, without user, query or fragment"
            raise self._errors.misconfigured(text)
        if url.scheme == "http" and host_of(url) not in self._allowed_hosts:
            text = "base_url must begin with https://, for credentials go there"
            self._errors.host = host_of(url)
            raise self._errors.misconfigured(f"{text}; GRPC_SCM_ALLOWED_HOSTS can allow {HOST}")
        return url

    def _follow(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> HttpReply:
        """Send a request and follow redirects within this host."""
        for _ in range(MAX_REDIRECTS + 1):
            started = time.monotonic()
            host, port = self._host, self._port
            with observed_work("http", method, self.provider, server_address=host, server_port=port) as piece:
                status, response_headers, content = self._exchange(method, target, body, headers)
                piece.attributes["http.response.status_code"] = status
            milliseconds = (time.monotonic() - started) * 1000
            logger.debug("%s: %s %s: status %d in %.0f ms", self.provider, method, target, status, milliseconds)
            if status == 304 and "if-none-match" in headers:
                return HttpReply(status, response_headers, b"", functools.partial(self.unexpected, status))
            if 300 <= status <= 399 and "location" in response_headers:
                target = self._redirected(method, status, target, response_headers["location"])
                continue
            if not 200 <= status <= 599:
                raise self.unexpected(status)
            if status >= 300:
                raise self._errors.refused(status, response_headers, content, self.credential)
            is_page = "html" in response_headers.get("content-type", "")
            return HttpReply(
                status,
                response_headers,
                content,
                self._errors.signed_out
                if is_page and SIGN_IN.search(content)
                else functools.partial(self.unexpected, status),
            )
        raise self._errors.misconfigured(f"{HOST} redirects in circles")

    def _redirected(self, method: str, status: int, target: str, location: str) -> str:
        """Return the target of a redirect; method and body stay the same, or the redirect is not followed.

        "307 … the user agent MUST NOT change the request method" (RFC 9110, section 15.4.8), and so for 308.
        """
        try:
            url = parse_url(urljoin(f"{self._base.scheme}://{self.host}{target}", location))
        except ValueError:
            raise self.unexpected(status) from None
        here = url.scheme, host_of(url), port_of(url), url.auth
        if here != (self._base.scheme, self._host, self._port, None):
            there = short_line(f"{url.scheme}://{url.host}:{port_of(url)}")
            text = "redirects to {}; " + SIGNED_OUT
            raise self._errors.misconfigured(
                f"{HOST} {text.format('another host')}", f"{HOST} {text.format(there)}", status=status
            )
        if not is_below(self._base.path or "", url.path or "") or "\\" in location:
            raise self._errors.misconfigured(
                f"{HOST} redirects to what is not below base_url; {SIGNED_OUT}", status=status
            )
        if method in IDEMPOTENT or status in {307, 308}:
            return url.request_uri
        if status == 303:
            text = f"{HOST} responded with 303, which does not say what it has done"
            raise self._errors.make(ProviderUnavailable, text, status=status, may_have_acted=True)
        text = f"{HOST} redirects the request: {MOVED if status == 301 else SIGNED_OUT}"
        raise self._errors.misconfigured(text, status=status)

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        with self._translated(may_have_acted=False):
            addresses = self._addresses()
            opened = self._open_socket(addresses)
        # It is closed here where a connection does not come as far as to take it.
        with contextlib.closing(opened), alarm(opened, self.deadline) as is_over:
            if self._proxy is not None:
                with self._translated(may_have_acted=False):
                    open_tunnel(opened, addresses, self._port, self._proxy.auth)
            connection = make_connection(self._host, self._port, opened, self._tls)
            try:
                with self._translated(may_have_acted=False):
                    connection.connect()
                with self._translated(may_have_acted=True):
                    connection.request(
                        method, target, body=body, headers=dict(headers), preload_content=False, decode_content=False
                    )
                    with contextlib.closing(connection.getresponse()) as response:
                        received = {name.lower(): value for name, value in response.headers.items()}
                        content = self._read(response)
                        # Where a body has no length, its end may be that of the connection, and so of the deadline.
                        if is_over.is_set():
                            raise TimeoutError("the body ends at the deadline")
                        return response.status, received, content
            finally:
                connection.close()

    def _addresses(self) -> list[IPAddress]:
        """Resolve the name and check what it leads to."""
        addresses = resolve(self._host, self._port, self._remaining())
        if not may_be_called(self._host, addresses, self._allowed_hosts):
            text = f"{HOST} has no public address; GRPC_SCM_ALLOWED_HOSTS can allow it"
            raise self._errors.misconfigured(text, f"{text} (it has {', '.join(map(str, addresses))})")
        return addresses

    def _open_socket(self, addresses: list[IPAddress]) -> socket.socket:
        """Connect to an address that was checked, resolving no name once more, or to the proxy, which is trusted."""
        if self._proxy is None:
            return connect_to_first(addresses, self._port, self.deadline)
        port = port_of(self._proxy)
        try:
            return connect_to_first(resolve(host_of(self._proxy), port, self._remaining()), port, self.deadline)
        except OSError as error:
            raise ProxyRefused(0, f"it cannot be reached: {error.strerror or error}") from error

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self.unexpected(response.status)
        body = bytearray()
        while chunk := response.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_body_bytes:
                raise self._errors.make(
                    ProviderUnavailable,
                    f"the response of {HOST} has more than {self._max_body_bytes} bytes",
                    status=response.status,
                    may_have_acted=True,
                )
        return bytes(body)

    def _remaining(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    @contextlib.contextmanager
    def _translated(self, *, may_have_acted: bool) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            if time.monotonic() >= self.deadline or isinstance(error, TimeoutError):
                text = f"{HOST} did not respond before the deadline"
                raise self._errors.make(ProviderTimeout, text, may_have_acted=may_have_acted) from error
            if isinstance(error, ProxyRefused):
                text = "the proxy of GRPC_SCM_PROXY does not connect"
                private = f"{text} to {HOST}: {short_line(str(error))}"
                kind = ProviderMisconfigured if error.status == 407 else ProviderUnavailable
                raise self._errors.make(kind, text, private=private) from error
            # Not the text of the error: it may name addresses of this network.
            text = f"the connection to {HOST} broke" if may_have_acted else f"{HOST} cannot be reached"
            if isinstance(error, ssl.SSLCertVerificationError):
                text = f"the certificate of {HOST} is not trusted"
            raise self._errors.make(ProviderUnavailable, text, may_have_acted=may_have_acted) from error

    def refusal(self, reply: HttpReply) -> ProviderError:
        """Make the error for a response that refuses with a status of success, as GraphQL does."""
        return self._errors.refused(reply.status, reply.headers, reply.body, self.credential)

    def unexpected(self, status: int | None = None) -> ProviderError:
        """Make the error for a response that is none of this kind of provider."""
        return self._errors.unexpected(status)


def _pause(attempt: int, error: ProviderError) -> float:
    """Seconds to wait: those of the server, and at least exponentially more with jitter."""
    shortest = FIRST_PAUSE_SECONDS * 2.0**attempt * random.uniform(0.5, 1)  # noqa: S311  # no secret
    return max(error.retry_after or 0.0, shortest)
