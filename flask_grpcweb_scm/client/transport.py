"""The interface between a channel and HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Exchange", "Head", "Pairs", "Request", "Transport", "TransportError"]

Pairs = list[tuple[str, str]]


class TransportError(Exception):
    """Raised for a missing or incomplete HTTP response: an error of the network, of the server, or the deadline."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send."""

    path: str
    headers: Pairs
    body: bytes | Iterable[bytes]
    """Chunks when the requests are a stream."""
    deadline: float | None
    """An instant of :func:`time.monotonic`, or None."""
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Head:
    """A response without its body."""

    status: int
    headers: Pairs
    """Names in lower case."""


class Exchange(Protocol):
    """One request and its response."""

    def start(self) -> Head:
        """Send the request and wait for the head of the response.

        :raises TransportError: when that fails, is aborted, or exceeds the deadline.
        """

    def read(self) -> bytes:
        """Wait for a chunk of the body; ``b""`` at its end.

        :raises TransportError: as :meth:`start`, and when the body is cut short.
        """

    def abort(self) -> None:
        """Make an operation fail that another thread waits for."""

    def close(self) -> None:
        """Release the resources of the exchange, at any stage."""


class Transport(Protocol):
    """Sends requests to one server; used by several threads at once."""

    def exchange(self, request: Request) -> Exchange:
        """Prepare a request; nothing is sent yet."""

    def close(self) -> None:
        """Close idle connections."""
