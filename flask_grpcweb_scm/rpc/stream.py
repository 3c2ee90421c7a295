"""The whole way of a call with a stream of responses: its frames, its batches, and its end.

A stream ends in one of three ways. Its function has no more messages, or raises: the last piece says so. Or the client
goes away: whoever sends the pieces, in an app ``web/wsgi.py``, calls :meth:`StreamReply.close`, which closes the
function's generator.
"""

from __future__ import annotations

import itertools
import time
from binascii import b2a_base64
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from flask_grpcweb_scm.rpc.call import IncomingCall, Pairs, Reply
from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.functions import Interceptor
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import StatusCode, encode_prefix, encode_text

__all__ = ["StreamReply", "call_for_stream", "check_stream", "serve_stream"]

BATCH_BYTES = 16 * 2**10
BATCH_SECONDS = 0.005

SHORT_BYTES = 256
"""Of shorter payloads there are many in a stream, and all that is done for each counts."""
_SHORT_PREFIXES = [encode_prefix(0, size) for size in range(SHORT_BYTES)]


def serve_stream(call: IncomingCall) -> Reply | StreamReply:
    """Serve a server-streaming call up to its first message. Raises no exception of the call's making."""
    endpoint = call.endpoint
    method = endpoint.method
    leave: Callable[[], object] = list
    try:
        call.open()
        leave = endpoint.limit_streams(call)
        request = call.requests() if method.client_streaming else endpoint.decode(method.request_class, call.message())
        # The function is intercepted(), and ends in call_for_stream().
        responses = iter(endpoint.functions[method](request, call))
    except BaseException as error:
        leave()
        if not isinstance(error, Exception):
            raise
        call.status = endpoint.status_of(error, call)
        return endpoint.protocol.failure(call, call.status)
    # The first step comes before the headers, so that an error in it can still be told in their place.
    pieces = _pieces(call, responses)
    try:
        first = [*itertools.islice(pieces, 1)]
    except BaseException:
        # Not of the call's making: SystemExit, or a timeout of gevent. The worker may go on.
        leave()
        raise
    if call.status and not first:
        # Not left to the garbage collector: what the function holds is free before the call ends.
        try:
            _close(call, responses)
        finally:
            leave()
        return endpoint.protocol.failure(call, call.status)
    return StreamReply(call, responses, first, pieces, leave)


def call_for_stream(method: RpcMethod, request: Any, context: CallContext) -> Iterable[Message]:
    """Call the service function of a method that streams its responses, which are checked one by one when sent.

    :raises ResponseTypeError: for what is no iterable of responses.
    """
    context.check_deadline()
    responses: Iterable[Message] = method.function(request, context)
    check_stream(method, responses)
    context.responses = responses
    return responses


def check_stream(method: RpcMethod, responses: object, interceptor: Interceptor | None = None) -> None:
    """Check that responses are an iterable.

    :raises ResponseTypeError: when they are not.
    """
    # A refusal of a decorator that protects views, (body, status), is no pair of messages.
    is_refusal = type(responses) is tuple and not all(isinstance(item, Message) for item in responses)
    if is_refusal or isinstance(responses, str | bytes) or not isinstance(responses, Iterable):
        raise method.wrong_type(responses, interceptor)


class StreamReply:
    """A response whose body is still being produced: an iterable of pieces, to send one by one and to close.

    :param responses: of the service function.
    :param first: the piece of the first messages, if there are any.
    :param pieces: those of the others.
    :param leave: called at the end of the stream.
    """

    def __init__(
        self,
        call: IncomingCall,
        responses: Iterator[Message],
        first: list[bytes],
        pieces: Generator[bytes, None, None],
        leave: Callable[[], object],
    ) -> None:
        self.call = call
        self.headers: Pairs = call.endpoint.protocol.stream_headers(call)
        self.on_end: Callable[[], object] | None = None
        """Called once, when the status of the call is known."""
        self.on_close: Callable[[], object] | None = None
        """Called once, after all else."""
        self._responses = responses
        self._pieces = pieces
        self._leave = leave
        self._has_ended = False
        # Not through a generator of ours: of ten thousand messages that is a twentieth of the time.
        self._iterator = itertools.chain(first, pieces, _Lazy(self._last_pieces), _Lazy(self._release))

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    def close(self) -> None:
        """Say that no more pieces are wanted; before the end this cancels the call and closes its generator."""
        try:
            if not self._has_ended:
                self._pieces.close()
                self.call.status = RpcError(StatusCode.CANCELLED, "the client has gone")
                self._end(is_wanted=False)
        finally:
            self._release()

    def _last_pieces(self) -> list[bytes]:
        return [] if self._has_ended else self._end()

    def _end(self, *, is_wanted: bool = True) -> list[bytes]:
        """End the call; returns its last piece, if that is wanted."""
        self._has_ended = True
        call = self.call
        try:
            _close(call, self._responses)
        finally:
            self._leave()
        last = call.endpoint.protocol.stream_end(call, call.status) if is_wanted else b""
        piece = _piece(call, last)
        try:
            if self.on_end is not None:
                self.on_end()
        except BaseException as error:
            call.unhandled = error
            raise
        return [piece] if piece else []

    def _release(self) -> list[bytes]:
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
        return []


def _pieces(call: IncomingCall, messages: Iterator[Message]) -> Generator[bytes, None, None]:
    """The messages of a stream as they are sent."""
    frames = _frames(call, messages)
    return (_piece(call, batch) for batch in _batches(frames)) if call.endpoint.method.batch else frames


def _frames(call: IncomingCall, messages: Iterator[Message]) -> Generator[bytes, None, None]:
    """The messages of a stream, each in a frame; as it is sent, unless it is to be joined with others.

    There may be millions: what has to be done for each is done here.
    """
    endpoint = call.endpoint
    method, protocol, encode = endpoint.method, endpoint.protocol, endpoint.encode
    response_class = method.response_class
    limit, minimum = endpoint.settings.max_response_bytes, endpoint.settings.compression_min_bytes
    # What is shorter than that is sent as it is.
    is_compressed = minimum is not None and minimum < SHORT_BYTES and protocol.compresses(call)
    has_options = is_compressed or (limit is not None and limit < SHORT_BYTES)
    prefixes, short = _SHORT_PREFIXES, 0 if has_options else SHORT_BYTES
    is_text = protocol.text and not method.batch
    sent = 0
    try:
        for message in messages:
            if call.deadline is not None:
                call.check_deadline()
            if not isinstance(message, response_class):
                raise method.wrong_type(message)
            payload = encode(message)
            size = len(payload)
            if size < short:
                frame = prefixes[size] + payload
                if is_text:
                    frame = b2a_base64(frame, newline=False)
            else:
                frame = protocol.frame(call, payload)
                if is_text:
                    frame = encode_text(frame)
            sent += len(frame)
            yield frame
        call.check_deadline()
    except BaseException as error:
        _end_with(call, error)
    finally:
        if not method.batch:
            call.bytes_sent += sent


def _end_with(call: IncomingCall, error: BaseException) -> None:
    if isinstance(error, Exception):
        call.status = call.endpoint.status_of(error, call)
        return
    if not isinstance(error, GeneratorExit):
        # The worker is told to stop.
        call.unhandled = error
    raise error


def _piece(call: IncomingCall, data: bytes) -> bytes:
    piece = encode_text(data) if call.endpoint.protocol.text else data
    call.bytes_sent += len(piece)
    return piece


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


class _Lazy:
    """An iterable that is made when it is reached. A generator would be ended by whoever collects garbage."""

    def __init__(self, make: Callable[[], list[bytes]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._make())


def _close(call: IncomingCall, responses: Iterator[Message]) -> None:
    # An interceptor may have wrapped the generator in an iterator that cannot be closed, or in one that has failed: as
    # long as its exception is kept, so is the generator.
    for iterator in (responses, call.responses):
        close: Callable[[], Any] = getattr(iterator, "close", lambda: None)
        try:
            close()
        except Exception as error:
            call.status = call.endpoint.status_of(error, call)
