"""The status of a response, as an exception."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.wire import Metadata, RemoteProtocolError, StatusCode, decode_binary, decode_message

__all__ = ["CallError", "read_status"]

_STATUS = re.compile(r"[0-9]{1,3}", re.ASCII)
_CALL_ID = re.compile(r"\(call ([0-9a-f]{8,64})\)\Z")
_MILLISECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class CallError(RpcError):
    """Raised when a call ends with a status other than OK.

    ``details`` are messages of their own classes when their code has been imported, else ``google.protobuf.Any``.

    :param retry_after: see the attribute.
    """

    def __init__(
        self,
        code: StatusCode | int,
        message: str = "",
        details: Iterable[Message] = (),
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message, details)
        self.initial_metadata = Metadata()
        """Sent by the server before its first message."""
        self.trailing_metadata = Metadata()
        """Sent by the server with the status."""
        self.retry_after = retry_after
        """Seconds to wait before a retry, set by the server; infinite when it forbids one, None when it sets none."""

    @property
    def call_id(self) -> str | None:
        """The id of the call in the server's log, from the text of an internal error; None when the text has none."""
        match = _CALL_ID.search(self.message)
        return match[1] if match else None


def read_status(pairs: Iterable[tuple[str, str]]) -> CallError | None:
    """Read the status from trailers or headers; None for OK.

    :raises RemoteProtocolError: when there is none, or more than one.
    """
    pairs = list(pairs)
    values = [value for name, value in pairs if name == "grpc-status"]
    if len(values) != 1:
        raise RemoteProtocolError(f"the response has grpc-status {len(values)} times")
    code = _code(values[0])
    if code is StatusCode.OK:
        return None
    headers = dict(pairs)
    details = _details(headers.get("grpc-status-details-bin", ""))
    retry_after = _retry_after(headers.get("grpc-retry-pushback-ms"), details)
    return CallError(code, decode_message(headers.get("grpc-message", "")), details, retry_after=retry_after)


def _code(value: str) -> StatusCode:
    if _STATUS.fullmatch(value) is None or int(value) > max(StatusCode):
        # A newer server may know more codes.
        return StatusCode.UNKNOWN
    return StatusCode(int(value))


def _details(value: str) -> list[Message]:
    try:
        status = status_pb2.Status.FromString(decode_binary(value))
    except (ValueError, DecodeError):
        # The code and the message are worth more than a complaint about the details.
        return []
    return [_unpack(detail) for detail in status.details]


def _unpack(detail: AnyMessage) -> Message:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(detail.TypeName())
        return GetMessageClass(descriptor).FromString(detail.value)
    except (KeyError, DecodeError):
        return detail


def _retry_after(pushback: str | None, details: Iterable[Message]) -> float | None:
    if pushback is not None:
        # "If the value is negative or unparseable, then it will be seen as the server asking the client not to retry at
        # all" (gRFC A6)
        return int(pushback) / 1000 if _MILLISECONDS.fullmatch(pushback) else math.inf
    for detail in details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            return float(detail.retry_delay.ToTimedelta().total_seconds())
    return None
