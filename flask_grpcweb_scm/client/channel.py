"""A channel to one server: the connections and options that its calls share, and stubs, whose methods make calls."""

from __future__ import annotations

import functools
import keyword
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from flask_grpcweb_scm.client.call import Call, Retries, RetryPolicy, may_retry
from flask_grpcweb_scm.client.connect import ConnectProtocol
from flask_grpcweb_scm.client.grpc_web import GrpcWebProtocol
from flask_grpcweb_scm.client.http import Exchange, SocketTransport, Transport, parse_base_url
from flask_grpcweb_scm.client.protocol import ChannelOptions, ClientProtocol, method_path
from flask_grpcweb_scm.rpc import codecs, did_you_mean
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS
from flask_grpcweb_scm.wire import ENCODINGS, Metadata

if TYPE_CHECKING:
    from flask_grpcweb_scm.observe.otel import ClientTracing

__all__ = ["Channel", "StreamMethod", "Stub", "UnaryMethod", "python_names", "snake_case"]

In = TypeVar("In")
Out = TypeVar("Out")

MetadataLike = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]


class Channel:
    """Calls to one server over pooled connections; threads and forked processes may share it.

    :param url: ``http://`` or ``https://``, host, and the path before the services' names, if there is one.
    :param token: sent as ``X-Grpc-Auth-Token``.
    :param hmac_secret: signs requests, unless there is a token.
    :param metadata: sent with every call.
    :param timeout: seconds for a call, unless it has its own; None for no limit.
    :param compression: for requests, ``"gzip"`` for example. Responses may be compressed in any case.
    :param text: send base64, for proxies that damage binary bodies.
    :param codec: ``"proto"`` or ``"json"``.
    :param retry: None for no retries.
    :param ca_certs: path of a PEM file with the certificates to trust; None for the system's.
    :param max_message_bytes: of a response message, also after decompression.
    :param otel: record a span and the duration of each call by OpenTelemetry, and send its ``traceparent``; needs the
        extra ``otel``.
    :param protocol: ``"grpc-web"`` or ``"connect"``.
    :param use_get: with Connect, send calls of methods without side effects by GET, which caches understand; those with
        a long request are sent by POST.
    :param transport: instead of sockets, for tests.
    :raises ImportError: without that extra.
    :raises ValueError: for a parameter that is not as described.
    :raises OSError: when `ca_certs` cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        hmac_secret: str | None = None,
        metadata: MetadataLike = (),
        timeout: float | None = None,
        compression: str | None = None,
        text: bool = False,
        codec: str = "proto",
        retry: RetryPolicy | None = None,
        ca_certs: str | None = None,
        max_message_bytes: int = 4 * 2**20,
        otel: bool = False,
        protocol: str = "grpc-web",
        use_get: bool = False,
        transport: Transport | None = None,
    ) -> None:
        choices = codecs()
        _check_choice("codec", codec, choices)
        _check_choice("protocol", protocol, HTTP1_PROTOCOLS)
        if text and protocol != "grpc-web":
            raise ValueError(f"text=True is for gRPC-Web; {protocol} has no bodies in base64")
        if use_get and protocol != "connect":
            raise ValueError("use_get=True is for Connect; set protocol='connect', too")
        if compression is not None:
            _check_choice("compression", compression, ENCODINGS)
        base = parse_base_url(url)
        self._base = base
        self._host = base.netloc
        self._prefix = (base.path or "").rstrip("/")
        self._transport = transport or SocketTransport(base, ca_certs=ca_certs)
        self._metadata = Metadata(_pairs(metadata))
        if token is not None:
            self._metadata.add("x-grpc-auth-token", token)
        self._timeout = timeout
        options = ChannelOptions(
            prefix=self._prefix,
            codec=choices[codec],
            encoding=ENCODINGS[compression] if compression else None,
            secret=_checked_secret(hmac_secret) if token is None else None,
            max_message_bytes=max_message_bytes,
        )
        self._protocol: ClientProtocol
        if protocol == "connect":
            self._protocol = ConnectProtocol(options, use_get=use_get)
        else:
            self._protocol = GrpcWebProtocol(options, text=text)
        self._retry = retry
        self._tracing = _tracing() if otel else None
        self._closed = False

    def stub(self, descriptor: ServiceDescriptor) -> Any:
        """The methods of a service as attributes: ``channel.stub(descriptor).say_hello(request)``.

        Type checkers cannot follow descriptors; :class:`ScmStub` is for them.
        """
        return Stub(self, descriptor)

    def call(
        self, method: MethodDescriptor, request: Any, *, timeout: float | None = None, metadata: MetadataLike = ()
    ) -> Call[Any]:
        """Prepare a call of any method. Parameters are those of :class:`UnaryMethod`.

        :raises TypeError: when a request is not of the method's class.
        :raises ValueError: when the channel is closed, or the metadata cannot be sent.
        """
        if self._closed:
            raise ValueError(f"the channel to {self._host} is closed")
        timeout = self._timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        sent = Metadata([*self._metadata, *_pairs(metadata)])
        return Call(
            functools.partial(self._open, method, request, sent, deadline),
            functools.partial(self._protocol.response, method),
            deadline=deadline,
            retries=Retries(self._retry if may_retry(method, sent) else None),
            watch=self._watch(method, sent) if self._tracing else None,
        )

    def close(self) -> None:
        """Close idle connections; running calls continue, new ones are refused."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Channel {self._host}{self._prefix}>"

    def _watch(self, method: MethodDescriptor, metadata: Metadata) -> Any:
        assert self._tracing is not None
        base = self._base
        return functools.partial(
            self._tracing.watch,
            system=self._protocol.system,
            path=method_path(method),
            address=(base.host or "").strip("[]"),
            port=base.port or (443 if base.scheme == "https" else 80),
            metadata=metadata,
        )

    def _open(
        self, method: MethodDescriptor, request: Any, metadata: Metadata, deadline: float | None, attempts: int
    ) -> Exchange:
        return self._transport.exchange(self._protocol.request(method, request, metadata, deadline, attempts))


def _tracing() -> ClientTracing:
    try:
        from flask_grpcweb_scm.observe.otel import client_tracing
    except ImportError:
        raise ImportError("otel=True needs opentelemetry-api: pip install 'flask_grpcweb_scm[otel]'") from None
    return client_tracing()


def _checked_secret(secret: str | None) -> str | None:
    # Not by encoding it: the error has the secret.
    if secret is not None and re.search("[\ud800-\udfff]", secret):
        raise ValueError("hmac_secret has a character that is none of Unicode; is it text in UTF-8?")
    return secret


def _pairs(metadata: MetadataLike) -> Iterable[tuple[str, str | bytes]]:
    return metadata.items() if isinstance(metadata, Mapping) else metadata


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}; got {value!r}{did_you_mean(value, choices)}")


# Methods of a service, reflected from its descriptor

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """Return the Python name of a method: ``GetRepository`` → ``get_repository``."""
    return _WORD_START.sub("_", name).lower()


def python_names(descriptor: ServiceDescriptor) -> dict[str, MethodDescriptor]:
    """Return the methods of a service by Python name; those that would have the same, by the names that they have."""
    counts = Counter(snake_case(method.name) for method in descriptor.methods)
    return {
        name if counts[name := snake_case(method.name)] == 1 else method.name: method for method in descriptor.methods
    }


class _Method(Generic[In, Out]):
    def __init__(self, channel: Channel, descriptor: MethodDescriptor) -> None:
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
    """The methods of a service as attributes, under Python names; under their own, when two have the same in Python."""

    def __init__(self, channel: Channel, descriptor: ServiceDescriptor) -> None:
        for name, method in python_names(descriptor).items():
            kind: type[_Method[Any, Any]] = StreamMethod if method.server_streaming else UnaryMethod
            setattr(self, f"{name}_" if keyword.iskeyword(name) else name, kind(channel, method))

    if not TYPE_CHECKING:  # where it would hide misspelt names

        def __getattr__(self, name: str) -> Any:
            same = [own for own in vars(self) if snake_case(own) == name]
            if same:
                raise AttributeError(f"{name} is {' or '.join(same)}; call them by these names")
            raise AttributeError(f"{type(self).__name__} has no method {name!r}{did_you_mean(name, vars(self))}")
