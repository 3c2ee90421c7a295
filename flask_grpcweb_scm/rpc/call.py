"""One call: its endpoint, its request (which is read when it is needed), and what becomes of it."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from google.protobuf.message import Message

from flask_grpcweb_scm.rpc.call_settings import Authenticate, BodyReader, CallSettings, Environ, LimitStreams
from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.functions import ServiceFunction
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import Metadata, RemoteProtocolError, StatusCode, over_limit

__all__ = [
    "Endpoint",
    "IncomingCall",
    "Pairs",
    "Reply",
    "RpcProtocol",
    "header_profile",
    "nearest_timeout",
    "peer_name",
]

MAX_PROFILE_CHARACTERS = 4096
"""Names of headers are the caller's choice, and profiles are kept."""

# Headers that a protocol has to look at before its request.
_OPTIONS = frozenset({
    "HTTP_GRPC_TIMEOUT", "HTTP_GRPC_ENCODING", "HTTP_CONTENT_ENCODING",
    "HTTP_CONNECT_TIMEOUT_MS", "HTTP_CONNECT_CONTENT_ENCODING", "HTTP_CONNECT_PROTOCOL_VERSION",
})  # fmt: skip

Pairs = list[tuple[str, str]]
Reply = tuple[str, Pairs, list[bytes]]
"""A complete response: the HTTP status (``"200 OK"``), headers and the pieces of the body."""


class RpcProtocol(Protocol):
    """A wire protocol: it takes requests apart, and knows where status, messages and trailers go in a response."""

    @property
    def name(self) -> str:
        """The name of the protocol, as configuration has it."""

    @property
    def codec(self) -> str:
        """The name of the codec of the messages."""

    @property
    def text(self) -> bool:
        """True when the body of a response is base64."""

    @property
    def has_streams(self) -> bool:
        """True when a request may call a method that streams."""

    @property
    def malformed(self) -> StatusCode:
        """The code for a request that breaks the protocol."""

    @property
    def is_safelisted(self) -> bool:
        """True when browsers send such requests to other origins without a preflight."""

    @property
    def is_found_by_key(self) -> bool:
        """True when verb, path, content type and ``Accept`` tell whether a request speaks it, and nothing else."""

    def serves(self, method: RpcMethod) -> bool:
        """Return whether a method can be called in such a request."""

    def options(self, environ: Environ) -> float | None:
        """Check the headers beside the message and the metadata, and return the timeout that they ask for.

        :raises RemoteProtocolError: for one that is malformed or unsupported.
        """

    def message(self, call: IncomingCall) -> bytes:
        """Read the only message of a request.

        :raises RemoteProtocolError: when the body has another number of messages, or is malformed.
        """

    def payloads(self, call: IncomingCall) -> Iterator[bytes]:
        """Read all messages of a request.

        :raises RemoteProtocolError: when the body is malformed.
        """

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """The response with the only message.

        :raises RemoteProtocolError: when the message is over the limit.
        """

    def failure(self, call: IncomingCall, error: RpcError) -> Reply:
        """The response to a call that ends before its first message."""

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = (), *, is_known: bool = True) -> Reply:
        """The response to a request that does not become a call.

        :param added: headers that the response gets from elsewhere.
        :param is_known: False when there is no such method.
        """

    def stream_headers(self, call: IncomingCall) -> Pairs:
        """The headers of a stream of messages, whose HTTP status is always 200."""

    def compresses(self, call: IncomingCall) -> bool:
        """Return whether messages of a stream may be compressed."""

    def frame(self, call: IncomingCall, payload: bytes) -> bytes:
        """One message of a stream as it is sent, but for base64.

        :raises RemoteProtocolError: when the message is over the limit.
        """

    def stream_end(self, call: IncomingCall, error: RpcError | None) -> bytes:
        """The end of a stream, after its last message, but for base64; `error` is None for OK.

        Empty when the status is not in the body.
        """


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method in one protocol, with everything that its calls share."""

    method: RpcMethod
    protocol: RpcProtocol
    settings: CallSettings
    reader: BodyReader
    authenticate: Authenticate | None
    """Returns who is calling, or raises RpcError; None lets everybody in as anonymous."""
    limit_streams: LimitStreams
    decode: Callable[[type[Message], bytes], Message]
    encode: Callable[[Message], bytes]
    default_timeout: float | None
    """Seconds for calls that ask for no deadline; None for no limit."""
    functions: Mapping[RpcMethod, ServiceFunction]
    """The service functions with the interceptors around them, which may change."""
    status_of: Callable[[Exception, IncomingCall], RpcError]


class IncomingCall(CallContext):
    """A call that has come in: what a service function sees of it, and its request.

    :param environ: has the headers, by the names of PEP 3333: ``HTTP_GRPC_TIMEOUT``.
    :param body_limit: bytes that the body may have.
    :param address: of the caller. Behind ProxyFix that is whatever the caller's headers say, and it gets into the log.
    """

    status: RpcError | None = None
    """The error that the call has ended with; None for OK, and until it has ended."""
    bytes_sent = 0
    """Of the body of a stream."""
    unhandled: BaseException | None = None
    """An exception that no error handler of the app has handled, for its teardown functions."""

    def __init__(
        self, endpoint: Endpoint, environ: Environ, body_limit: int | None = None, address: str | None = None
    ) -> None:
        # Not by the base class, nor with attributes of the class: both would take longer.
        self.method = endpoint.method
        self.deadline = None
        self.given_initial_metadata = self.given_trailing_metadata = None
        self.endpoint = endpoint
        self.environ = environ
        self.body_limit = body_limit
        self.bytes_received = 0
        self.is_read = False
        """True when nothing is left of the body; of some bodies this is not known."""
        self._address = address
        self._message: bytes | None = None

    @property
    def code(self) -> StatusCode:
        """The code that the call has ended with."""
        return self.status.code if self.status else StatusCode.OK

    @property
    def peer(self) -> str:  # type: ignore[override]  # most calls do without
        """The caller's network address."""
        return peer_name(self._address)

    @property
    def protocol(self) -> str:  # type: ignore[override]  # as above
        """The name of the protocol that the call has come in."""
        return self.endpoint.protocol.name

    def headers(self) -> Pairs:
        """All headers but those of the body, names in lower case."""
        environ = self.environ
        return [(key[5:].lower().replace("_", "-"), environ[key]) for key in environ if key.startswith("HTTP_")]

    @functools.cached_property
    def metadata(self) -> Metadata:
        """Sent by the caller."""
        return Metadata.from_headers(self.headers())

    def open(self) -> None:
        """Check the headers: compression, timeout, metadata, and who is calling.

        :raises RemoteProtocolError: for a header that is malformed, unsupported or over a limit.
        :raises RpcError: when the deadline has passed, or the caller may not call.
        """
        environ, endpoint = self.environ, self.endpoint
        settings = endpoint.settings
        last_keys, profile = _last
        # Most requests have those of the one before.
        if [*environ] != last_keys:
            profile = header_profile(environ)
        timeout = endpoint.default_timeout
        if profile.has_options:
            wanted = endpoint.protocol.options(environ)
            if wanted is not None:
                timeout = nearest_timeout(wanted, settings.max_timeout)
        # All headers together first: to look at them one by one would take longer than all the rest of a short call.
        limit = settings.max_metadata_bytes
        if profile.name_bytes + len("".join(profile.values(environ))) > limit:
            self._check_metadata(limit)
        if timeout is not None:
            # Not by set_timeout(), because nearly every call comes this way.
            self.deadline = monotonic() + timeout
            if timeout <= 0:
                self.check_deadline()
        if endpoint.authenticate is not None:
            self.caller = endpoint.authenticate(self)

    def _check_metadata(self, limit: int) -> None:
        """Check that names and values of the metadata have no more bytes together than they may have."""
        size = sum(len(name) + len(value) for name, value in self.metadata)
        if size > limit:
            raise over_limit(f"metadata of {size} bytes", limit)

    @functools.cached_property
    def chunks(self) -> Iterator[bytes]:
        """The part of the body that has not been read."""
        return iter(()) if self.is_read else self._read_chunks()

    def _read_chunks(self) -> Iterator[bytes]:
        length, received = self.environ.get("CONTENT_LENGTH"), 0
        for chunk in self.endpoint.reader.read_chunks(self.environ, self.body_limit):
            received += len(chunk)
            # Before the messages of the last chunk are handled, so that nobody waits for more meanwhile.
            self.is_read = str(received) == length
            yield chunk

    @property
    def message_bytes(self) -> bytes:
        """The request message as its sender serialized it."""
        return super().message_bytes if self.endpoint.method.client_streaming else bytes(self.message())

    def message(self) -> bytes:
        """The payload of the only message, uncompressed; for the proto codec it may be a view of the body.

        :raises RemoteProtocolError: when the body has another number of messages, or is malformed.
        """
        if self._message is None:
            try:
                self._message = self.endpoint.protocol.message(self)
            except RemoteProtocolError:
                # Else it is the reason.
                self.check_deadline()
                raise
        return self._message

    def requests(self) -> Iterator[Message]:
        """Read the requests of a client-streaming method.

        :raises RemoteProtocolError: when the body is malformed, or a payload is not a message of the method.
        """
        endpoint = self.endpoint
        try:
            for payload in endpoint.protocol.payloads(self):
                # A caller that dribbles would otherwise hold a worker thread for as long as it likes.
                self.check_deadline()
                yield endpoint.decode(endpoint.method.request_class, payload)
        except RemoteProtocolError:
            self.check_deadline()
            raise

    def close(self) -> None:
        """Say that the call needs its connection no longer, but for sending the response."""


def nearest_timeout(*timeouts: float | None) -> float | None:
    """The shortest of some timeouts; None stands for no limit."""
    return min((timeout for timeout in timeouts if timeout is not None), default=None)


def peer_name(address: str | None) -> str:
    """An address as it may stand in a log."""
    return _peer_name((address or "")[:64])


@functools.lru_cache(maxsize=1024)
def _peer_name(address: str) -> str:
    return re.sub(r"[^\w.:%-]", "?", address, flags=re.ASCII)


@dataclass(frozen=True, slots=True)
class HeaderProfile:
    """The properties that requests share whose environments have the same keys."""

    has_options: bool
    """True when a header sets a timeout, or names a compression or a version."""
    name_bytes: int
    values: Callable[[Environ], Iterable[str]]
    """Gets the values of all headers out of an environment."""


def header_profile(environ: Environ) -> HeaderProfile:
    """The profile of a request, which is kept for the next one. Nearly all have that of one before."""
    global _last  # a pair is replaced at once
    keys = [*environ]
    is_short = sum(map(len, keys)) <= MAX_PROFILE_CHARACTERS
    profile = (_profile_of if is_short else _profile_of.__wrapped__)(tuple(keys))
    _last = keys, profile
    return profile


@functools.lru_cache(maxsize=256)
def _profile_of(keys: tuple[str, ...]) -> HeaderProfile:
    names = [key for key in keys if key.startswith("HTTP_")]
    values = operator.itemgetter(*names) if len(names) > 1 else lambda environ: [environ[name] for name in names]
    return HeaderProfile(not _OPTIONS.isdisjoint(keys), len("".join(names)), values)


_last: tuple[list[str], HeaderProfile] = [], _profile_of(())
