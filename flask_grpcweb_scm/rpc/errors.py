"""Errors that service functions raise, errors in the definition of a service, and their messages and log lines."""

from __future__ import annotations

import difflib
import logging
import random
import time
from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence

from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import RetryInfo

from flask_grpcweb_scm.wire import StatusCode, decode_message, encode_message

__all__ = [
    "Incidents",
    "ResponseTypeError",
    "RpcError",
    "ServiceDefinitionError",
    "did_you_mean",
    "nearest",
    "printable",
    "retry_info",
    "unavailable",
]

RETRY_SECONDS = 0.5, 1.0
"""Shortest and longest pause before a call is repeated that found a server out."""
INCIDENT_SECONDS = 60.0
MAX_INCIDENTS = 100
"""Kinds that are remembered."""


class RpcError(Exception):
    """The status that ends an RPC, for a service function or an interceptor to raise.

    :param code: any status but OK; a number from 1 to 16 will do.
    :param message: plain text for the caller: name the value and the way out.
    :param details: protobuf messages such as ``google.rpc.BadRequest``; an ``Any`` is sent as it is.
    :raises ValueError: when `code` is OK or no status code, or a detail has not all of its required fields.
    :raises TypeError: when `message` is no text, or a detail no protobuf message.
    """

    def __init__(self, code: StatusCode | int, message: str = "", details: Iterable[Message] = ()) -> None:
        self.code: StatusCode = StatusCode(code)
        if self.code is StatusCode.OK:
            raise ValueError("RpcError needs a code other than OK; return a response instead")
        if not isinstance(message, str):
            raise TypeError(f"RpcError takes a text as its message, got {type(message).__name__}; str() makes one")
        # Both arguments: copies and pickles are made from them.
        super().__init__(code, message)
        self.message = message
        self.details: Sequence[Message] = tuple(details)
        for detail in self.details:
            if not isinstance(detail, Message):
                raise TypeError(f"RpcError takes protobuf messages as its details, got {type(detail).__name__}")
            # Checked here: where it is sent, it would break off a stream.
            if not detail.IsInitialized():
                raise ValueError(f"RpcError got a {detail.DESCRIPTOR.full_name} without all of its required fields")

    def __str__(self) -> str:
        return f"{self.code.name} ({self.code:d}): {self.message}"

    def status_proto(self) -> status_pb2.Status:
        """This error as the ``google.rpc.Status`` that ``grpc-status-details-bin`` carries.

        Its message is the one that ``grpc-message`` has room for: clients may compare the two.
        """
        status = status_pb2.Status(code=self.code, message=decode_message(encode_message(self.message)))
        for detail in self.details:
            if isinstance(detail, any_pb2.Any):
                status.details.append(detail)
            else:
                status.details.add().Pack(detail)
        return status


def retry_info(seconds: float) -> RetryInfo:
    """The detail of a status that says after how many seconds trying again makes sense."""
    return RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)))


def unavailable(text: str) -> RpcError:
    """Make the status of a call that found a database or another server out, with the time to come back."""
    # Not the same for all callers, which would come back together.
    pause = random.uniform(*RETRY_SECONDS)  # noqa: S311  # spreads load, guards nothing
    return RpcError(StatusCode.UNAVAILABLE, text, [retry_info(pause)])


class Incidents:
    """Log lines about what fails every call for a while: one for each kind and minute."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._logged: dict[str, float] = {}

    def log(self, kind: str, text: str, *values: object) -> None:
        """Log a warning, unless one of its kind was logged within the last minute."""
        now = time.monotonic()
        if now - self._logged.get(kind, -INCIDENT_SECONDS) >= INCIDENT_SECONDS:
            if len(self._logged) >= MAX_INCIDENTS:
                self._logged.clear()
            self._logged[kind] = now
            self._logger.warning(text, *values)


class ResponseTypeError(TypeError):
    """Raised for a response that is not a message of the class that the method returns."""

    def __init__(self, path: str, expected: str, response: object, culprit: str = "its function") -> None:
        text = f"{path} must return {expected}, {culprit} returned {type(response).__name__}"
        if isinstance(response, AsyncIterable | Awaitable):
            text += ": an async function that nothing runs; make async what is around it, or `await` it there"
        super().__init__(text)
        self.response: object = response
        """The value that was returned."""


class ServiceDefinitionError(Exception):
    """A service is bound wrongly: an unknown or missing method, or a function of the wrong kind."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence "X is unknown": the nearest known name, or nothing."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """Return the nearest known name that is at least so similar; 1 is equal."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=similarity)), None)


def printable(text: str) -> str:
    """Escape control characters, and others that no one sees: the text may be hostile to a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
