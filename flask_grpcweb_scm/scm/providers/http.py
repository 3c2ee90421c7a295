"""HTTP to trackers and other APIs of providers: urllib3's connections, within bounds that a hostile server cannot move.

A request has one deadline for everything, from resolving the name to the last byte of the body. It goes to an address
that was checked, with no proxy between, and to no other host whatever the answer says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import urllib3
from urllib3.util import Url, parse_url

from flask_grpcweb_scm.scm.providers.addresses import is_public, resolve
from flask_grpcweb_scm.scm.providers.credentials import Credential
from flask_grpcweb_scm.scm.providers.errors import (
    TrackerError,
    TrackerMisconfigured,
    TrackerRateLimited,
    TrackerTimeout,
    TrackerUnavailable,
)
from flask_grpcweb_scm.scm.providers.reply import (
    Complaint,
    HttpReply,
    error_class,
    plain_complaint,
    printable,
    retry_after,
)
from flask_grpcweb_scm.scm.providers.sockets import alarm, connect_to_first, make_connection

__all__ = ["HttpClient", "path_of"]

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**10
MAX_BODY_BYTES = 8 * 2**20
MAX_REDIRECTS = 3
ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.25

IDEMPOTENT = frozenset({"GET", "HEAD"})
TRY_AGAIN_LATER = (TrackerRateLimited, TrackerUnavailable)

_ERRORS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class HttpClient:
    """One API, for the length of one RPC.

    :param base_url: such as ``https://api.github.com``; everything that is asked for is below it.
    :param tracker: what kind of host it is, for messages.
    :param authorization: the header of that name; empty for none.
    :param credential: what `authorization` was made of, to keep it out of messages.
    :param headers: to send with every request.
    :param allowed_hosts: names of hosts that may have private addresses and plain ``http``, in lower case.
    :param deadline: an instant of :func:`time.monotonic`.
    :param explain: reads the JSON that came with an error status.
    :raises TrackerMisconfigured: for a base URL that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tracker: str,
        deadline: float,
        authorization: str = "",
        credential: Credential | None = None,
        headers: Mapping[str, str] | None = None,
        allowed_hosts: Collection[str] = (),
        explain: Callable[[Any], Complaint] | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.tracker = tracker
        self.deadline = deadline
        self._allowed_hosts = allowed_hosts
        self._credential = credential or Credential()
        self._explain = explain or plain_complaint
        self._max_body_bytes = max_body_bytes
        self._base = self._parse_base(base_url)
        self._host = _host(self._base)
        self._port = _port(self._base)
        # Here, because it reads all certificates of the system.
        self._tls = ssl.create_default_context() if self._base.scheme == "https" else None
        self._headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # so that what is counted is what is kept
            "user-agent": "flask_grpcweb_scm",
            **(headers or {}),
        }
        if authorization:
            self._headers["authorization"] = authorization

    @property
    def host(self) -> str:
        """The host's name, with the port unless it is the usual one."""
        return self._base.netloc or ""

    def get(self, path: str, *, query: Mapping[str, str | int] | None = None) -> HttpReply:
        """Ask for something; see :meth:`request`."""
        return self.request("GET", path, query=query)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        json: Any = None,
        content_type: str = "application/json",
    ) -> HttpReply:
        """Send a request and read the answer; only GET and HEAD are ever repeated.

        :param path: below the base URL, percent-encoded: see :func:`path_of`.
        :param json: the body, unless None.
        :raises TrackerError: for any other answer than one of success, and for none.
        """
        target = (self._base.path or "").rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        headers = dict(self._headers)
        body = None
        if json is not None:
            body, headers["content-type"] = _dump(json), content_type
        for attempt in range(ATTEMPTS):
            try:
                return self._follow(method, target, body, headers)
            except TRY_AGAIN_LATER as error:
                pause = _pause(attempt, error)
                last = attempt == ATTEMPTS - 1 or time.monotonic() + pause >= self.deadline
                if method not in IDEMPOTENT or last:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt answers or raises")

    def _parse_base(self, base_url: object) -> Url:
        try:
            url = parse_url(base_url) if isinstance(base_url, str) else Url()
        except urllib3.exceptions.LocationParseError:
            url = Url()
        if url.scheme not in {"http", "https"} or not url.host or url.auth or url.query or url.fragment:
            # Not repeated: it may have a password.
            raise self._misconfigured(
                "base_url is not a URL such as https://host/path, without user, query or fragment"
            )
        if url.scheme == "http" and _host(url) not in self._allowed_hosts:
            text = "base_url must begin with https://, for credentials go there"
            raise self._misconfigured(f"{text}; GRPC_SCM_ALLOWED_HOSTS can allow {_host(url)}")
        return url

    def _follow(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> HttpReply:
        """Do a request at this host, wherever there it has moved to."""
        for _ in range(MAX_REDIRECTS + 1):
            started = time.monotonic()
            status, answer_headers, answer = self._exchange(method, target, body, headers)
            milliseconds = (time.monotonic() - started) * 1000
            logger.debug("%s: %s %s: status %d in %.0f ms", self.tracker, method, target, status, milliseconds)
            if 300 <= status <= 399 and "location" in answer_headers:
                target = self._redirected(method, status, target, answer_headers["location"])
                continue
            if not 200 <= status <= 299:
                raise self._refused(status, answer_headers, answer)
            return HttpReply(status, answer_headers, answer, self._unreadable(status))
        raise self._misconfigured(f"{self.host} redirects in circles")

    def _redirected(self, method: str, status: int, target: str, location: str) -> str:
        """Where a request has to go instead; its method and body stay, or else it is not repeated.

        "307 … the user agent MUST NOT change the request method" (RFC 9110, section 15.4.8), and so for 308.
        """
        try:
            url = parse_url(urljoin(f"{self._base.scheme}://{self.host}{target}", location))
        except ValueError:
            raise self._unreadable(status) from None
        if (url.scheme, _host(url), _port(url)) != (self._base.scheme, self._host, self._port):
            there = printable(f"{url.scheme}://{url.netloc}")
            raise self._misconfigured(f"{self.host} redirects to {there}; is base_url right?")
        if method not in IDEMPOTENT and status not in {307, 308}:
            raise self._error(
                TrackerUnavailable, f"{self.host} redirects the request", status=status, may_have_acted=status == 303
            )
        return url.request_uri

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        with self._translated(may_have_acted=False):
            opened = self._open_socket()
        with alarm(opened, self.deadline):
            connection = make_connection(self._host, self._port, opened, self._tls)
            try:
                with self._translated(may_have_acted=False):
                    connection.connect()
                with self._translated(may_have_acted=True):
                    connection.request(
                        method, target, body=body, headers=dict(headers), preload_content=False, decode_content=False
                    )
                    with contextlib.closing(connection.getresponse()) as response:
                        return response.status, _lower(response.headers), self._read(response)
            finally:
                connection.close()
                opened.close()  # where the connection did not come as far as to take it

    def _open_socket(self) -> socket.socket:
        """A socket that is connected to an address which was checked: not to what the name means a moment later."""
        addresses = resolve(self._host, self._port, self._remaining())
        if self._host not in self._allowed_hosts and not all(map(is_public, addresses)):
            logger.warning("%s: %s resolves to %s", self.tracker, self._host, ", ".join(map(str, addresses)))
            raise self._misconfigured(f"{self.host} has no public address; GRPC_SCM_ALLOWED_HOSTS can allow it")
        return connect_to_first(addresses, self._port, self.deadline)

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self._unreadable(response.status)
        body = bytearray()
        while chunk := response.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_body_bytes:
                raise self._error(
                    TrackerUnavailable,
                    f"{self.host} answered more than {self._max_body_bytes} bytes",
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
                text = f"{self.host} did not answer before the deadline"
                raise self._error(TrackerTimeout, text, may_have_acted=may_have_acted) from error
            # Not the text of the error: it may name addresses of this network.
            text = f"the connection to {self.host} broke" if may_have_acted else f"{self.host} cannot be reached"
            if isinstance(error, ssl.SSLCertVerificationError):
                text = f"the certificate of {self.host} is not trusted"
            raise self._error(TrackerUnavailable, text, may_have_acted=may_have_acted) from error

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> TrackerError:
        text, fields = self._complaint(body)
        wait = retry_after(headers)
        kind = error_class(status, wait)
        text = f"{self.tracker} answered {status}: {text}" if text else f"{self.tracker} answered {status}"
        acted = status >= 500 or kind is TrackerTimeout
        return self._error(kind, text, status=status, retry_after=wait, fields=fields, may_have_acted=acted)

    def _complaint(self, body: bytes) -> Complaint:
        """What an error's body says, as text that can be shown to anybody."""
        show = self._credential.redact
        try:
            text, fields = self._explain(json.loads(body))
            return printable(show(text)), {printable(name): printable(show(word)) for name, word in fields.items()}
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            # Not what this tracker writes: a proxy's page, say, which is none of the caller's business.
            return "", {}

    def _unreadable(self, status: int) -> TrackerError:
        text = f"{self.host} answered what is no answer of {self.tracker}; is base_url right?"
        return self._error(TrackerUnavailable, text, status=status, may_have_acted=True)

    def _misconfigured(self, text: str) -> TrackerError:
        return self._error(TrackerMisconfigured, text)

    def _error(self, kind: type[TrackerError], text: str, **evidence: Any) -> TrackerError:
        return kind(text, tracker=self.tracker, **evidence)


def path_of(*segments: str | int) -> str:
    """A path of segments, none of which can become two or climb.

    :raises ValueError: for a segment that is empty, ``.`` or ``..``.
    """
    if {"", ".", ".."} & set(map(str, segments)):
        raise ValueError(f"no path is made of {segments!r}")
    return "".join("/" + quote(str(segment), safe="") for segment in segments)


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _host(url: Url) -> str:
    """Without the brackets of an IPv6 address."""
    return (url.host or "").strip("[]")


def _port(url: Url) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _pause(attempt: int, error: TrackerError) -> float:
    """Seconds to wait: what the server wants, else longer each time, and not as long as everybody else."""
    if error.retry_after is not None:
        return error.retry_after
    return FIRST_PAUSE_SECONDS * 2.0**attempt * random.uniform(0.5, 1)  # noqa: S311  # no secret
