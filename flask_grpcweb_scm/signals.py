"""The signals and the log of calls, and the call being served."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from blinker import ANY, NamedSignal
from flask import has_request_context, request
from werkzeug.local import LocalProxy

from flask_grpcweb_scm.rpc import CallContext

__all__ = ["CALL_KEY", "active_call", "current_rpc", "logger", "rpc_finished", "rpc_started"]

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("flask_grpcweb_scm")


class RpcSignal(NamedSignal):
    """A signal that tells when its receivers may have become others."""

    change = object()
    """Another one after each time that a receiver was connected or disconnected."""

    def connect(self, receiver: F, sender: Any = ANY, weak: bool = True) -> F:
        """Connect a receiver."""
        try:
            return super().connect(receiver, sender, weak)
        finally:
            self.change = object()

    def disconnect(self, receiver: Callable[..., Any], sender: Any = ANY) -> None:
        """Disconnect a receiver."""
        try:
            super().disconnect(receiver, sender)
        finally:
            self.change = object()


rpc_started = RpcSignal("rpc-started")
"""Sent by the app when a call begins, with ``context``."""
rpc_finished = RpcSignal("rpc-finished")
"""Sent by the app when a call has ended, with ``context``, ``code`` and ``seconds``."""

active_call: ContextVar[CallContext | None] = ContextVar("flask_grpcweb_scm.active_call", default=None)
"""The call that the running code belongs to; set for as long as its request lasts."""

CALL_KEY = "flask_grpcweb_scm.call"
"""The name under which a request has its call; and the WSGI environment, until the response is made.

Not for longer: a call has its environment, and only the garbage collector would free the two.
"""


def _current_rpc() -> CallContext:
    context = active_call.get()
    if context is None and has_request_context():
        # copy_current_request_context() and what is built on it take nothing but the request to another thread.
        context = vars(request).get(CALL_KEY)
    if context is None:
        raise RuntimeError("no RPC is being served: current_rpc is for service functions and what they call")
    return context


current_rpc: CallContext = cast("CallContext", LocalProxy(_current_rpc))
"""The :class:`CallContext` of the RPC being served."""
