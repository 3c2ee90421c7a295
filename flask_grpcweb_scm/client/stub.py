"""Methods of a service, reflected from its descriptor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from flask_grpcweb_scm.client.call import Call
from flask_grpcweb_scm.rpc import did_you_mean

__all__ = ["Caller", "MetadataLike", "StreamMethod", "Stub", "UnaryMethod", "snake_case"]

In = TypeVar("In")
Out = TypeVar("Out")

MetadataLike = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """Return the Python name of a method: ``GetRepository`` → ``get_repository``."""
    return _WORD_START.sub("_", name).lower()


class Caller(Protocol):
    """The part of a :class:`Channel` that stubs use."""

    def call(
        self, method: MethodDescriptor, request: Any, *, timeout: float | None = None, metadata: MetadataLike = ()
    ) -> Call[Any]:
        """Prepare a call of any method."""


class _Method(Generic[In, Out]):
    def __init__(self, channel: Caller, descriptor: MethodDescriptor) -> None:
        self._channel = channel
        self._descriptor = descriptor

    def start(self, request: In, *, timeout: float | None = None, metadata: MetadataLike = ()) -> Call[Out]:
        """Prepare a call that another thread may cancel; it is sent when its first response is read."""
        return self._channel.call(self._descriptor, request, timeout=timeout, metadata=metadata)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._descriptor.full_name}>"


class UnaryMethod(_Method[In, Out]):
    """A method with one response.

    It takes the request, or an iterable of requests when they are a stream.

    :param timeout: seconds for the whole call, retries included; None for the channel's.
    :param metadata: sent after the channel's.
    """

    def __call__(self, request: In, *, timeout: float | None = None, metadata: MetadataLike = ()) -> Out:
        """Make the call.

        :raises CallError: when it ends with a status other than OK.
        """
        return self.start(request, timeout=timeout, metadata=metadata).result()

    def with_call(
        self, request: In, *, timeout: float | None = None, metadata: MetadataLike = ()
    ) -> tuple[Out, Call[Out]]:
        """Make the call; the second value has the metadata that came with the response."""
        call = self.start(request, timeout=timeout, metadata=metadata)
        return call.result(), call


class StreamMethod(_Method[In, Out]):
    """A method with a stream of responses. Parameters are those of :class:`UnaryMethod`."""

    def __call__(self, request: In, *, timeout: float | None = None, metadata: MetadataLike = ()) -> Call[Out]:
        """Make the call; iterate over the result, best in a ``with`` block."""
        return self.start(request, timeout=timeout, metadata=metadata)


class Stub:
    """The methods of a service as attributes, under Python names."""

    def __init__(self, channel: Caller, descriptor: ServiceDescriptor) -> None:
        for method in descriptor.methods:
            kind: type[_Method[Any, Any]] = StreamMethod if method.server_streaming else UnaryMethod
            setattr(self, snake_case(method.name), kind(channel, method))

    if not TYPE_CHECKING:  # where it would hide misspelt names

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"{type(self).__name__} has no method {name!r}{did_you_mean(name, vars(self))}")
