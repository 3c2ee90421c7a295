"""State of the extension for one app."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    scheme: str
    """Of requests of this process to itself: Flask compares the port of ``SERVER_NAME`` with that of the scheme."""
    findings: Callable[[], Iterable[str]] = tuple
    """Advice that needs the database, for ``flask grpc check``; is called in an app context."""

    @property
    def base_url(self) -> str | None:
        """The URL of the host that serves the RPCs; None when any will do."""
        return f"{self.scheme}://{self.host}" if self.host else None
