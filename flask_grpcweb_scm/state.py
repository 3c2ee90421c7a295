"""State of the extension for one app."""

from __future__ import annotations

from dataclasses import dataclass

from flask_grpcweb_scm.rpc import Authenticate, Dispatcher
from flask_grpcweb_scm.settings import Settings

__all__ = ["AppState"]


@dataclass(frozen=True, slots=True)
class AppState:
    """Settings and services of an app, at ``app.extensions["grpcweb_scm"]``."""

    settings: Settings
    dispatcher: Dispatcher
    authenticate: Authenticate | None
    """None when every caller is let in."""
    host: str
    """The ``Host`` of requests for RPCs; empty when any will do."""
