"""What a service function knows about the call it serves."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.identity import Identity
from flask_grpcweb_scm.wire import Metadata, StatusCode

if TYPE_CHECKING:
    from flask_grpcweb_scm.rpc.service import RpcMethod

__all__ = ["CallContext"]


class CallContext:
    """One call: who makes it, until when, with what metadata.

    A test may construct one by hand, to call a service function with it.

    :param timeout: seconds from now; None for no deadline.
    :param read_message: reads the bytes of the only request message, uncompressed and still undecoded.
    """

    def __init__(
        self,
        method: RpcMethod | None = None,
        *,
        metadata: Metadata | None = None,
        timeout: float | None = None,
        caller: Identity | None = None,
        peer: str = "",
        read_message: Callable[[], bytes] | None = None,
    ) -> None:
        self.method = method
        self.metadata = metadata if metadata is not None else Metadata()
        """Sent by the caller."""
        self.initial_metadata = Metadata()
        """To send before the first message: a stream's is fixed when its first message is out."""
        self.trailing_metadata = Metadata()
        """To send after the last message."""
        self.deadline: float | None = None
        """An instant of :func:`time.monotonic`, or None."""
        self.set_timeout(timeout)
        self.caller = caller or Identity()
        self.peer = peer
        """The caller's network address."""
        self.call_id = secrets.token_hex(8)
        """Names this call in the log, and in the text of an internal error."""
        self._read_message = read_message

    @property
    def message_bytes(self) -> bytes:
        """The request message as its sender serialized it, for an authenticator to verify.

        :raises RpcError: UNAUTHENTICATED, when the requests are a stream: it has no one message to sign.
        """
        if self._read_message is None:
            raise RpcError(StatusCode.UNAUTHENTICATED, "a stream of requests cannot be signed; use a token")
        return self._read_message()

    def set_timeout(self, timeout: float | None) -> None:
        """Move the deadline to `timeout` seconds from now; None takes it away."""
        self.deadline = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check_deadline(self) -> None:
        """Call this in long loops.

        :raises RpcError: DEADLINE_EXCEEDED, once the deadline has passed.
        """
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline of the call has passed")
