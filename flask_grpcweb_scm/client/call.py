"""One call, from its first attempt to its status, with its retries."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.client.http import Exchange, Head, TransportError
from flask_grpcweb_scm.client.protocol import Response
from flask_grpcweb_scm.wire import Metadata, RemoteProtocolError, StatusCode

__all__ = ["Call", "Retries", "RetryPolicy", "all_pages", "may_retry"]

MAX_PAUSE_SECONDS = 3600.0
"""A server that sets a longer pause has no retry."""
MAX_SAME_TOKENS = 2
"""A token may come once more: a server may have nothing but the name of the last row in it."""
MAX_EMPTY_PAGES = 100
"""One after the other."""

R = TypeVar("R")


class Call(Generic[R]):
    """The responses of a call, to iterate over. The request is sent when the first one is read.

    As a context manager it is closed at the end of the block. Iterating raises :class:`CallError`, with the status of
    the call: a stream that ends without an exception was complete.
    """

    def __init__(
        self,
        open_exchange: Callable[[int], Exchange],
        read_response: Callable[[Head], Response],
        *,
        deadline: float | None,
        retries: Retries,
        watch: Callable[[Generator[R, None, None]], Generator[R, None, None]] | None = None,
    ) -> None:
        self._attempts = _Attempts(open_exchange, read_response, deadline, retries)
        # Nothing in it knows this object: a call that nobody holds any more is closed at once.
        messages: Generator[Any, None, None] = self._attempts.messages()
        self._messages = messages if watch is None else watch(messages)

    @property
    def initial_metadata(self) -> Metadata:
        """Sent by the server before its first message; empty until that has arrived."""
        return self._attempts.metadata[0]

    @property
    def trailing_metadata(self) -> Metadata:
        """Sent by the server after its last message; empty until the call has ended."""
        return self._attempts.metadata[1]

    def cancel(self) -> None:
        """Stop the call, from any thread; a thread that waits for a response gets CANCELLED."""
        self._attempts.cancel()

    def close(self) -> None:
        """Cancel the call, unless it has ended, and release its connection."""
        self.cancel()
        self._messages.close()

    def result(self) -> R:
        """The response of a method that has exactly one.

        :raises CallError: the status of the call; UNIMPLEMENTED when there is another number of responses.
        """
        messages = list(itertools.islice(self, 2))
        if len(messages) != 1:
            self.close()
            count = "none" if not messages else "more than one"
            raise self._attempts.with_metadata(
                CallError(StatusCode.UNIMPLEMENTED, f"the method has exactly one response, the server sent {count}")
            )
        return messages[0]

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        return cast("R", next(self._messages))

    def __enter__(self) -> Call[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Attempts:
    """The attempts of a call, one after the other, and the state of the current one."""

    def __init__(
        self,
        open_exchange: Callable[[int], Exchange],
        read_response: Callable[[Head], Response],
        deadline: float | None,
        retries: Retries,
    ) -> None:
        self._open_exchange = open_exchange
        self._read_response = read_response
        self._deadline = deadline
        self._retries = retries
        self._cancelled = threading.Event()
        self._exchange: Exchange | None = None
        self._response: Response | None = None

    def cancel(self) -> None:
        """Stop the call, from any thread."""
        self._cancelled.set()
        if self._exchange is not None:
            self._exchange.abort()

    def messages(self) -> Generator[Message, None, None]:
        """Make the call, and retry it until a first message has arrived."""
        while True:
            responded = False
            try:
                for message in self._attempt():
                    responded = True
                    yield message
                return
            except CallError as error:
                pause = None if responded else self._retries.pause(error)
                if pause is None or not self._time_left_after(pause):
                    raise
            self._cancelled.wait(pause)

    def _attempt(self) -> Iterator[Message]:
        self._response = None
        exchange = self._exchange = self._open_exchange(self._retries.attempts)
        try:
            self._check()
            response = self._response = self._read_response(exchange.start())
            for message in response.messages(self._chunks(exchange)):
                yield message
                self._check()
        except CallError as error:
            raise self.with_metadata(error) from None
        except RemoteProtocolError as error:
            raise self.with_metadata(CallError(error.code, error.message)) from None
        except TransportError as error:
            broken = self._stopped() or CallError(StatusCode.UNAVAILABLE, str(error))
            raise self.with_metadata(broken) from error
        finally:
            exchange.close()

    def _chunks(self, exchange: Exchange) -> Iterator[bytes]:
        while True:
            chunk = exchange.read()
            # A body that another thread aborts may look complete.
            self._check()
            if not chunk:
                return
            yield chunk

    def _check(self) -> None:
        error = self._stopped()
        if error is not None:
            raise error

    def _stopped(self) -> CallError | None:
        if self._cancelled.is_set():
            return CallError(StatusCode.CANCELLED, "the call was cancelled")
        if not self._time_left_after(0):
            return CallError(StatusCode.DEADLINE_EXCEEDED, "no complete response before the deadline of the call")
        return None

    def _time_left_after(self, seconds: float) -> bool:
        return self._deadline is None or time.monotonic() + seconds < self._deadline

    @property
    def metadata(self) -> tuple[Metadata, Metadata]:
        """Initial and trailing metadata, as far as they have arrived."""
        response = self._response
        return (response.initial_metadata, response.trailing_metadata) if response else (Metadata(), Metadata())

    def with_metadata(self, error: CallError) -> CallError:
        """Add the metadata to an error."""
        error.initial_metadata, error.trailing_metadata = self.metadata
        return error


# Retries, in the terms of gRPC's own retry policy (gRFC A6, "gRPC Retry Design")

_REPEATABLE = {MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Number and pauses of the retries of a failed call; durations in seconds.

    It applies to methods that the proto declares as ``NO_SIDE_EFFECTS`` or ``IDEMPOTENT``, and for calls with an
    ``idempotency-key`` in their metadata. No other call is ever repeated, nor one that sends a stream or has received
    a message.

    :raises ValueError: for a number that is out of range.
    """

    max_attempts: int = 4
    """The first one included."""
    initial_backoff: float = 0.1
    max_backoff: float = 2.0
    backoff_multiplier: float = 2.0
    retryable_codes: Collection[StatusCode] = frozenset({StatusCode.UNAVAILABLE})

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts counts the first one: it is at least 1, got {self.max_attempts}")
        for name in ("initial_backoff", "max_backoff", "backoff_multiplier"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a number of at least 0, got {getattr(self, name)}")

    def backoff(self, retry: int) -> float:
        """Draw the pause before a retry, counted from 0.

        "The nth retry attempt will occur after random(0.8, 1.2) * min(initialBackoff*backoffMultiplier**(n-1),
        maxBackoff)" (gRFC A6)
        """
        pause = min(self.initial_backoff * self.backoff_multiplier**retry, self.max_backoff)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311  # spreads load, guards nothing


class Retries:
    """The retries of one call.

    :param policy: None for no retries.
    """

    def __init__(self, policy: RetryPolicy | None) -> None:
        self.attempts: int = 0
        """Attempts so far, which have all failed."""
        self._policy = policy
        self._backoffs = 0

    def pause(self, error: CallError) -> float | None:
        """Count a failed attempt, and return the seconds to wait; None when it was the last."""
        self.attempts += 1
        policy = self._policy
        if policy is None or self.attempts >= policy.max_attempts or error.code not in policy.retryable_codes:
            return None
        if error.retry_after is not None:
            self._backoffs = 0
            return error.retry_after if error.retry_after <= MAX_PAUSE_SECONDS else None
        self._backoffs += 1
        return policy.backoff(self._backoffs - 1)


def may_retry(method: MethodDescriptor, metadata: Metadata) -> bool:
    """Test that repeating a call has no effect beyond the first."""
    if method.client_streaming:
        return False
    return method.GetOptions().idempotency_level in _REPEATABLE or "idempotency-key" in metadata


# Pages


class HasNextPage(Protocol):
    """A page of a list."""

    @property
    def next_page_token(self) -> str:
        """Token of the page after this one; empty on the last one."""


P = TypeVar("P", bound=HasNextPage)


def all_pages(fetch: Callable[[str], P], count: Callable[[P], int]) -> Iterator[P]:
    """Yield the pages of a list, from the first to the last.

    :param fetch: takes the token of a page.
    :param count: takes a page, and returns the number of its rows.
    :raises CallError: INTERNAL, when the server sends a token again and again, or pages without rows for ever.
    """
    token, empty = "", 0
    seen: Counter[bytes] = Counter()
    while True:
        page = fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
        digest = hashlib.sha256(token.encode()).digest()
        empty = 0 if count(page) else empty + 1
        seen[digest] += 1
        if seen[digest] > MAX_SAME_TOKENS or empty > MAX_EMPTY_PAGES:
            text = "the server sends pages without an end: the same token again and again, or no rows"
            raise CallError(StatusCode.INTERNAL, text)
