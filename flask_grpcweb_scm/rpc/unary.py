"""One call on the wire, server side: headers and chunks of a body in, headers and pieces of a body out."""

from __future__ import annotations

import itertools
import time
from binascii import b2a_base64
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message

from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.dispatcher import Dispatcher, wrong_type
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.identity import Identity
from flask_grpcweb_scm.rpc.incoming import LARGE_BYTES, IncomingCall, shape_of
from flask_grpcweb_scm.wire import (
    COMPRESSED,
    ENCODINGS,
    MAX_MESSAGE_HEADER_BYTES,
    ContentType,
    Encoding,
    Metadata,
    StatusCode,
    choose_encoding,
    encode_binary,
    encode_message,
    encode_prefix,
    encode_text,
    encode_trailers,
    find_encoding,
    over_limit,
    parse_timeout,
)

__all__ = [
    "BROWSER",
    "OK_TRAILERS",
    "Authenticate",
    "Exchange",
    "Reply",
    "Server",
    "StreamReply",
    "error_reply",
    "refusal_headers",
]

MAX_TRAILERS_ONLY_BYTES = 1500
"""A larger status goes into a trailers frame. nginx has one page of 4 kB for all headers of a response: 2 kB are ours,
with those of CORS, and the others are for cookies and what else the app adds."""

BATCH_BYTES = 16 * 2**10
BATCH_SECONDS = 0.005

SHORT_BYTES = 256
"""Of shorter payloads there are many in a stream, and all that is done for each counts."""
_SHORT_PREFIXES = [encode_prefix(0, size) for size in range(SHORT_BYTES)]

BROWSER = "HTTP_X_GRPC_WEB"
"""The header of browser clients, some of which take a status in headers and trailers for an error. Scripts, which may
read it from the headers, do not send it."""

# "User Agent: Use X-User-Agent" (PROTOCOL-WEB.md)
_CLIENT_HEADERS = {"x-grpc-web", "x-user-agent", "te"}
OK_TRAILERS = encode_trailers([("grpc-status", "0")])
"""The last frame of a call that has ended well and has no metadata."""

Pairs = list[tuple[str, str]]
Reply = tuple[Pairs, list[bytes]]
"""A response that is complete: its headers and its body, in which a large message is a piece of its own."""
Authenticate = Callable[[CallContext], Identity]
Translate = Callable[[Exception, IncomingCall], RpcError]


class _Settings(Protocol):
    """What an exchange needs of the settings; sizes in bytes, durations in seconds."""

    @property
    def max_message_bytes(self) -> int: ...
    @property
    def max_response_bytes(self) -> int | None: ...
    @property
    def max_metadata_bytes(self) -> int: ...
    @property
    def default_timeout(self) -> float | None: ...
    @property
    def max_timeout(self) -> float | None: ...
    @property
    def compression_min_bytes(self) -> int | None: ...
    @property
    def status_header(self) -> bool | str: ...


@dataclass(frozen=True, slots=True)
class Server:
    """What the calls of an app have in common."""

    settings: _Settings
    dispatcher: Dispatcher
    authenticate: Authenticate
    translate: Translate
    """Turns an exception that nobody declared into the status to answer, and logs it."""
    on_end: Callable[[Exchange], None]
    """Called once, when the last byte is produced or the client has gone; by then :attr:`Exchange.status` is set."""


class Exchange:
    """Serves one request, whatever is asked of it."""

    status: RpcError | None = None
    """What the call ended with; None for OK, and until it has ended."""
    bytes_sent = 0

    def __init__(self, call: IncomingCall, server: Server) -> None:
        self.started = time.monotonic()
        self.call = call
        self.method = call.form.method
        self._server = server
        self._settings = server.settings
        codec = server.dispatcher.codecs[call.form.content_type.codec]
        self._decode, self._encode = codec.decode, codec.encoder(call.form.method.response_class)
        self._response_type = call.form.response_type
        self._encoding = self._response_encoding()

    @property
    def code(self) -> StatusCode:
        """What the call ended with."""
        return self.status.code if self.status else StatusCode.OK

    def run(self) -> Reply | StreamReply:
        """Do the call, up to the first message of a stream. Never raises an exception of the call's making."""
        try:
            self._open()
            response = self._server.dispatcher.call(self.method, self._request(), self.call)
            if self.method.server_streaming:
                return self._start_stream(response)
            frame = self._frame(self._encode(response))
        except Exception as error:
            return self.fail(error)
        return self._succeed(frame)

    def _open(self) -> None:
        call, environ = self.call, self.call.environ
        find_encoding(environ.get("HTTP_GRPC_ENCODING"))
        timeout = environ.get("HTTP_GRPC_TIMEOUT")
        call.set_timeout(self._timeout(None if timeout is None else parse_timeout(timeout.strip())))
        call.check_metadata(self._settings.max_metadata_bytes, shape_of(environ))
        call.check_deadline()
        call.caller = self._server.authenticate(call)

    def _timeout(self, asked: float | None) -> float | None:
        timeout = self._settings.default_timeout if asked is None else asked
        limits = [seconds for seconds in (timeout, self._settings.max_timeout) if seconds is not None]
        return min(limits, default=None)

    # Requests

    def _request(self) -> Message | Iterator[Message]:
        if self.method.client_streaming:
            return self._requests()
        return self._decode(self.method.request_class, self.call.message())

    def _requests(self) -> Iterator[Message]:
        for payload in self.call.payloads():
            # A caller that dribbles would otherwise hold a worker thread for as long as it likes.
            self.call.check_deadline()
            yield self._decode(self.method.request_class, payload)

    # Responses

    def succeed(self, payload: bytes) -> Reply:
        """Answer a message."""
        return self._succeed(self._frame(payload))

    def _succeed(self, frame: tuple[bytes, bytes]) -> Reply:
        headers = self._headers()
        if self._settings.status_header and BROWSER not in self.call.environ:
            headers.append(("grpc-status", "0"))
        trailers = self._trailers(None)
        if self._settings.status_header == "only" and _is_plain_http(self.call):
            headers += _added(self.call._trailing_metadata)
            trailers = b""
        pieces = _pieces(*frame, trailers, text=self._response_type.text)
        self.bytes_sent = sum(map(len, pieces))
        self._server.on_end(self)
        return headers, pieces

    def fail(self, error: Exception) -> Reply:
        """Answer what an exception stands for."""
        return self._fail(self._status_of(error))

    def _fail(self, error: RpcError) -> Reply:
        self.status = error
        call = self.call
        # "Trailers-Only": only without custom metadata, whose two kinds it could not tell apart.
        if call._initial_metadata or call._trailing_metadata:
            reply: Reply = self._headers(), [self._piece(self._trailers(error))]
        else:
            reply = error_reply(error, self._response_type)
            self.bytes_sent = sum(map(len, reply[1]))
        self._server.on_end(self)
        return reply

    def _start_stream(self, responses: Iterable[Message]) -> Reply | StreamReply:
        # The first step comes before the headers, so that an immediate error can be trailers-only.
        iterator = iter(responses)
        pieces = self._pieces(iterator)
        first = [*itertools.islice(pieces, 1)]
        if self.status and not first:
            # Not left to the garbage collector: what the function holds is free before the call ends.
            _close(iterator)
            return self._fail(self.status)
        return StreamReply(self._headers(), self, first, pieces, iterator)

    def _headers(self) -> Pairs:
        headers = [("content-type", self._response_type.name)]
        if self._encoding is not None:
            headers.append(("grpc-encoding", self._encoding.name))
        return headers + _added(self.call._initial_metadata)

    def _trailers(self, error: RpcError | None) -> bytes:
        return encode_trailers(_status_pairs(error) + _added(self.call._trailing_metadata))

    def _frame(self, payload: bytes) -> tuple[bytes, bytes]:
        """The prefix and the payload as it is sent."""
        limit, minimum = self._settings.max_response_bytes, self._settings.compression_min_bytes
        if limit is not None and len(payload) > limit:
            raise over_limit(f"response of {len(payload)} bytes", limit)
        if self._encoding is None or minimum is None or len(payload) < minimum:
            return encode_prefix(0, len(payload)), payload
        payload = self._encoding.compress(payload)
        return encode_prefix(COMPRESSED, len(payload)), payload

    def _pieces(self, messages: Iterator[Message]) -> Generator[bytes, None, None]:
        """The messages of a stream as they are sent."""
        frames = self._frames(messages)
        return (self._piece(batch) for batch in _batches(frames)) if self.method.batch else frames

    def _frames(self, messages: Iterator[Message]) -> Generator[bytes, None, None]:
        """The messages of a stream, each in a frame; as it is sent, unless it is to be joined with others.

        There may be millions: what has to be done for each is done here.
        """
        call, response_class, encode = self.call, self.method.response_class, self._encode
        is_plain = self._encoding is None and self._settings.max_response_bytes is None
        prefixes, short = _SHORT_PREFIXES, SHORT_BYTES if is_plain else 0
        is_joined = self.method.batch
        is_text = self._response_type.text and not is_joined
        sent = 0
        try:
            for message in messages:
                if call.deadline is not None:
                    call.check_deadline()
                if not isinstance(message, response_class):
                    raise wrong_type(self.method, message)
                payload = encode(message)
                size = len(payload)
                if size < short:
                    frame = prefixes[size] + payload
                    if is_text:
                        frame = b2a_base64(frame, newline=False)
                else:
                    frame = b"".join(self._frame(payload))
                    if is_text:
                        frame = encode_text(frame)
                sent += len(frame)
                yield frame
            call.check_deadline()
        except BaseException as error:
            self._end(error)
        finally:
            if not is_joined:
                self.bytes_sent += sent

    def _end(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self.status = self._status_of(error)
            return
        if not isinstance(error, GeneratorExit):
            # The worker is told to stop.
            self.call.unhandled = error
        raise error

    def _piece(self, data: bytes) -> bytes:
        piece = encode_text(data) if self._response_type.text else data
        self.bytes_sent += len(piece)
        return piece

    def _response_encoding(self) -> Encoding | None:
        if self._settings.compression_min_bytes is None:
            return None
        return choose_encoding(self.call.environ.get("HTTP_GRPC_ACCEPT_ENCODING"))

    def _status_of(self, error: Exception) -> RpcError:
        return self._server.dispatcher.status_of(self.method, error) or self._server.translate(error, self.call)


class StreamReply:
    """A response whose body is still being produced: an iterable of pieces, to flush one by one and to close.

    :param first: the piece of the first messages, if there are any.
    :param pieces: those of the others; the trailers are still missing.
    :param responses: what they are made of, which is closed at the end.
    """

    def __init__(
        self,
        headers: Pairs,
        exchange: Exchange,
        first: list[bytes],
        pieces: Generator[bytes, None, None],
        responses: Iterator[Message],
    ) -> None:
        self.headers = headers
        self.call = exchange.call
        self.on_close: Callable[[], object] = lambda: None
        """Called once, after all else."""
        self._exchange = exchange
        self._pieces = pieces
        self._responses = responses
        self._has_ended = False
        # Not through a generator of ours: of ten thousand messages that is a twentieth of the time.
        self._iterator = itertools.chain(first, pieces, _Late(self._last_pieces), _Late(self._release))

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    def close(self) -> None:
        """Say that no more pieces are wanted; before the end this cancels the call and closes its generator."""
        try:
            if not self._has_ended:
                self._has_ended = True
                self._pieces.close()
                self._exchange.status = RpcError(StatusCode.CANCELLED, "the client has gone")
                self._close_responses()
                self._exchange._server.on_end(self._exchange)
        finally:
            self._release()

    def _last_pieces(self) -> list[bytes]:
        if self._has_ended:
            return []
        exchange = self._exchange
        self._has_ended = True
        self._close_responses()
        last = exchange._piece(exchange._trailers(exchange.status))
        exchange._server.on_end(exchange)
        return [last]

    def _release(self) -> list[bytes]:
        on_close, self.on_close = self.on_close, lambda: None
        on_close()
        return []

    def _close_responses(self) -> None:
        try:
            _close(self._responses)
        except Exception as error:
            self._exchange.status = self._exchange._status_of(error)


class _Late:
    """An iterable that is made when it is reached. A generator would be ended by whoever collects garbage."""

    def __init__(self, make: Callable[[], list[bytes]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._make())


def _batches(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Join frames until there are :data:`BATCH_BYTES`, or :data:`BATCH_SECONDS` have passed."""
    batch: list[bytes] = []
    append, now = batch.append, time.monotonic
    missing, due = BATCH_BYTES, now() + BATCH_SECONDS
    for frame in frames:
        append(frame)
        missing -= len(frame)
        if missing <= 0 or now() >= due:
            yield b"".join(batch)
            batch.clear()
            missing, due = BATCH_BYTES, now() + BATCH_SECONDS
    if batch:
        yield b"".join(batch)


def _close(responses: Iterator[Message]) -> None:
    # An interceptor may have wrapped the generator in an iterator that cannot be closed.
    close: Callable[[], Any] = getattr(responses, "close", lambda: None)
    close()


def _is_plain_http(call: IncomingCall) -> bool:
    """Whether nothing but the content type says that the caller speaks gRPC-Web: a script with an HTTP library."""
    accepted = call.environ.get("HTTP_ACCEPT", "").lower()
    return "application/grpc-web" not in accepted and not any(
        name in _CLIENT_HEADERS or name.startswith("grpc-") for name, _ in call.headers()
    )


def _pieces(prefix: bytes, payload: bytes, trailers: bytes, *, text: bool) -> list[bytes]:
    pieces = [prefix, payload, trailers]
    if text:
        return [encode_text(b"".join(pieces))]
    return [b"".join(pieces)] if len(payload) < LARGE_BYTES else pieces


def _added(metadata: Metadata | None) -> Pairs:
    """Metadata of the function as headers."""
    return metadata.to_headers() if metadata else []


def error_reply(error: RpcError, content_type: ContentType, added: Sequence[tuple[str, str]] = ()) -> Reply:
    """The response to a call that ends before its first message and has no metadata.

    :param added: headers that it gets from elsewhere.
    """
    headers = [("content-type", content_type.name), *_accepted_encodings(error), *added]
    status = _status_pairs(error)
    if _size(status) + _size(added) <= MAX_TRAILERS_ONLY_BYTES:
        return headers + status, []
    trailers = encode_trailers(status)
    return headers, [encode_text(trailers) if content_type.text else trailers]


def refusal_headers(error: RpcError) -> Pairs:
    """The status in a response that is not gRPC-Web, with as much of its message as there is room for."""
    return [*_accepted_encodings(error), *_status_pairs(error, MAX_TRAILERS_ONLY_BYTES)]


def _accepted_encodings(error: RpcError) -> Pairs:
    # "… with a status of UNIMPLEMENTED … the server MUST … include grpc-accept-encoding" (compression.md)
    is_asked = error.code is StatusCode.UNIMPLEMENTED
    return [("grpc-accept-encoding", ",".join(["identity", *ENCODINGS]))] if is_asked else []


def _status_pairs(error: RpcError | None, max_message_bytes: int = MAX_MESSAGE_HEADER_BYTES) -> Pairs:
    if error is None:
        return [("grpc-status", "0")]
    message = encode_message(error.message, max_message_bytes)
    pairs = [("grpc-status", str(int(error.code))), ("grpc-message", message)]
    if error.details:
        pairs.append(("grpc-status-details-bin", encode_binary(error.status_proto().SerializeToString())))
    return pairs


def _size(headers: Sequence[tuple[str, str]]) -> int:
    """Bytes of headers as they are sent, each on a line of its own."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
