"""The ways to lose a streaming response that an app, a function or a middleware has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.contexts.app import FAST, FLASK, HOOKED

__all__ = ["AS_FLASK", "FATAL_FAULTS", "FAULTS", "NO_FAULT", "Fault"]

AS_FLASK = "as Flask"
"""What Flask gives to teardown functions after the same fault of a view with ``stream_with_context``."""


@dataclass(frozen=True)
class Fault:
    """One way.

    :param name: what the header ``X-Fault`` says.
    :param lanes: that it may happen on.
    :param code: what the client sees; None where it may be anything, or nothing.
    :param messages: that the client sees; None for any number.
    :param error: the name of the class that teardown functions get, ``NoneType`` for none.
    :param has_begun: whether there is a generator that has begun.
    :param may_break: whether the server may see an exception: it is of something outside of this extension, or comes
        when the status has been sent.
    """

    name: str
    lanes: tuple[str, ...] = (FLASK, HOOKED, FAST)
    code: int | None = None
    messages: int | None = None
    error: str = AS_FLASK
    has_begun: bool = True
    may_break: bool = False


def _of_hooks() -> Iterable[Fault]:
    for hook, lanes in (("after_request", (FLASK, HOOKED)), ("after_this_request", (FLASK, HOOKED, FAST))):
        yield from [
            Fault(f"{hook}: raises", lanes, 13, 0),
            Fault(f"{hook}: answers 401", lanes, 16, 0),
            Fault(f"{hook}: answers 200", lanes, 2, 0),
            Fault(f"{hook}: copies the response", lanes, 0, 3),
            Fault(f"{hook}: calls set_data", lanes),
            Fault(f"{hook}: sets a list", lanes),
            Fault(f"{hook}: wraps the stream", lanes, 0, 3),
        ]


NO_FAULT = Fault("none", code=0, messages=3)
FAULTS = [
    NO_FAULT,
    *_of_hooks(),
    Fault("saving the session raises", code=13, messages=0),
    Fault("request_finished raises", (FLASK, HOOKED), 13, 0),
    Fault("before_request answers 401", (FLASK, HOOKED), 16, 0, has_begun=False),
    Fault("before_request answers 200", (FLASK, HOOKED), 2, 0, has_begun=False),
    Fault("teardown_request raises", (FLASK, HOOKED), 0, 3),
    Fault("teardown_appcontext raises", code=0, messages=3),
    Fault("the function raises at once", code=13, messages=0, has_begun=False),
    Fault("the function raises in the middle", code=13, messages=2),
    # As of an exception that the app has a handler for.
    Fault("the function declares an error in the middle", code=10, messages=2, error="NoneType"),
    Fault("an interceptor raises", code=13, messages=0, error="Fault", has_begun=False),
    # The generator has not begun: the first step would.
    Fault("an interceptor raises after the call", code=13, messages=0, error="Fault", has_begun=False),
    Fault("an interceptor raises in the middle", code=13, messages=1, error="Fault"),
    Fault("an interceptor maps the stream", code=0, messages=3),
    Fault("rpc-started raises", code=13, messages=0, error="Fault", has_begun=False),
    Fault("rpc-finished raises", error="Fault", may_break=True),
    Fault("start_response raises", error="Fault", may_break=True),
    Fault("a middleware drops the iterable", error="NoneType"),
    Fault("a middleware closes the iterable", error="NoneType"),
    Fault("a middleware makes a list", code=0, messages=3),
    Fault("a middleware wraps the iterable", code=0, messages=3),
]

FATAL_FAULTS = [
    Fault("the function halts in the middle", may_break=True),
    Fault("the function exits in the middle", may_break=True),
]
"""A server would end with them."""
