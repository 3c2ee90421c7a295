"""The signals and the log of calls, and where the call being served is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from blinker import ANY, NamedSignal

__all__ = ["CALL_KEY", "active_call", "logger", "rpc_finished", "rpc_started"]

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
