"""The signals and the log of calls, and the call being served."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from blinker import ANY, NamedSignal
from flask import has_app_context, has_request_context, request
from flask.globals import app_ctx
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

active_call: ContextVar[object] = ContextVar("flask_grpcweb_scm.active_call", default=None)
"""The call that the running code belongs to, for as long as its request lasts, and before it anything that is none.

The fast lane does not set it, which would be a twentieth of what it costs: its application contexts have the call.
"""

CALL_KEY = "flask_grpcweb_scm.call"
"""The name under which a request has its call; and the WSGI environment, until the response is made.

Not for longer: a call has its environment, and only the garbage collector would free the two.
"""


def _current_rpc() -> CallContext:
    active = active_call.get()
    entered = vars(app_ctx) if has_app_context() else {}
    if entered.get("call") is not None and entered["around"] is active:
        # In the fast lane, and in no other request that something there has made.
        active = entered["call"]
    elif not isinstance(active, CallContext) and has_request_context():
        # copy_current_request_context() and what is built on it take nothing but the request to another thread.
        active = vars(request).get(CALL_KEY)
    if not isinstance(active, CallContext):
        raise RuntimeError("no RPC is being served: current_rpc is for service functions and what they call")
    return active


current_rpc: CallContext = cast("CallContext", LocalProxy(_current_rpc))
"""The :class:`CallContext` of the RPC being served."""
