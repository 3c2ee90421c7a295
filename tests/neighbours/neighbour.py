"""The contract of a neighbour: an extension or a middleware in an app that serves RPCs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from tests.neighbours.host import Host, Response

__all__ = ["CELLS", "LANES", "Neighbour"]

CELLS = {
    "page": "Page",
    "unary": "Unary",
    "stream": "Stream",
    "error": "Error",
}
"""What is called, and its heading: a page of the host, two kinds of RPC, and an RPC that ends in an error."""

LANES = {"fast-lane": True, "through-flask": False}
"""Values of GRPC_FAST_LANE."""


class Neighbour:
    """One entry of the table. Every cell of every lane has an app, and an instance of this, of its own."""

    name: ClassVar[str]
    distribution: ClassVar[str]
    sign: ClassVar[str]
    """What shows that it acts, for docs/neighbours.md."""
    cannot: ClassVar[Mapping[str, str]] = {}
    """Cells that it has nothing to do with by its nature, and the reason."""
    config: ClassVar[Mapping[str, Any]] = {}
    orders: ClassVar[tuple[str, ...]] = ("before", "after")
    """When it may be installed, seen from this extension."""

    @classmethod
    def before_import(cls) -> None:
        """Do what has to be done before this extension is imported."""

    def make_app(self) -> Flask:
        """The app, before anything is installed in it."""
        return Flask("host")

    def install(self, app: Flask) -> None:
        """Do as the documentation of the neighbour says; before GrpcWebScm.init_app() or after it."""

    def around(self, app: Flask) -> WSGIApplication:
        """What the server gets to serve."""
        return app

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate the view of the page and the service functions."""
        return function

    def speak(self, text: str) -> str:
        """The words of the page, of each reply and of the error; called by their functions."""
        return text.upper()

    def acts(self, cell: str, host: Host) -> object:
        """Whether the neighbour is seen acting. False, and no exception, for a host where it is not installed."""
        return self.is_seen_in(host.call(cell))

    def is_seen_in(self, response: Response) -> object:
        """Whether a single response shows it."""
        raise NotImplementedError
