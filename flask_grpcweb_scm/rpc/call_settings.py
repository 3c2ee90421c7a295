"""Interfaces of the server that a call comes to: bodies, limits and timeouts, callers and their streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from flask_grpcweb_scm.rpc.context import CallContext, Identity

__all__ = ["Authenticate", "BodyReader", "CallSettings", "Environ", "LimitStreams"]

Environ = dict[str, Any]
Authenticate = Callable[[CallContext], Identity]
LimitStreams = Callable[[CallContext], Callable[[], object]]
"""Returns what ends a stream, or raises RpcError when there may not be another one."""


class BodyReader(Protocol):
    """Reads bodies; `limit` is the most bytes that one may have, None for any number."""

    def read_whole(self, environ: Environ, limit: int | None) -> bytes | None:
        """All of a body; None when it is better read in chunks, of which nothing has been read then."""

    def read_chunks(self, environ: Environ, limit: int | None) -> Iterator[bytes]:
        """A body in chunks, none of them empty."""


class CallSettings(Protocol):
    """The settings of calls; sizes in bytes, durations in seconds."""

    @property
    def max_message_bytes(self) -> int:
        """Of a request message, also after decompression."""
        ...

    @property
    def max_response_bytes(self) -> int | None:
        """Of a response message; None for any number."""
        ...

    @property
    def max_metadata_bytes(self) -> int:
        """Of the request's metadata, names and values together."""
        ...

    @property
    def default_timeout(self) -> float | None:
        """For unary calls that ask for no deadline."""
        ...

    @property
    def stream_timeout(self) -> float | None:
        """For other calls that ask for no deadline."""
        ...

    @property
    def max_timeout(self) -> float | None:
        """The most that a call may take."""
        ...

    @property
    def idle_timeout(self) -> float | None:
        """For peers that neither read nor send, in calls without a deadline."""
        ...

    @property
    def compression_min_bytes(self) -> int | None:
        """Of the shortest response that is compressed; None for never."""
        ...

    @property
    def status_header(self) -> bool | str:
        """True when unary responses repeat the status in the headers; ``only``: for scripts it is there alone."""
        ...
