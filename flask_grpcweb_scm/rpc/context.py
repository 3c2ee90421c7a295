"""The call that a service function serves, as it sees it, and the identity of its caller."""

from __future__ import annotations

import functools
import os
import re
import struct
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.wire import Metadata, StatusCode

__all__ = ["ANONYMOUS", "METHOD_NAME", "CallContext", "CalledMethod", "Identity"]

METHOD_NAME = re.compile(r"[\w.]+/(?:\w+|\*)")
"""Of methods in scopes and configuration keys: ``pkg.Service/Method`` or ``pkg.Service/*``."""
_ROWS = {"organizations": "slugs", "repositories": "names", "projects": "slugs"}
_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller and what it may do; ``None`` stands for no restriction."""

    name: str = "anonymous"
    """For logs; never a credential."""
    organizations: frozenset[int | str] | None = None
    """Organizations it may reach, by id (int) or slug (str)."""
    methods: frozenset[str] | None = None
    """Methods it may call, as ``pkg.Service/Method`` or ``pkg.Service/*``."""
    repositories: frozenset[int | str] | None = None
    """Repositories it may reach in these organizations, by id (int) or name (str)."""
    projects: frozenset[int | str] | None = None
    """Projects it may reach in these organizations, by id (int) or slug (str)."""

    def __post_init__(self) -> None:
        for value in (self.organizations, self.methods, self.repositories, self.projects):
            if isinstance(value, str | bytes):
                # Its characters would be taken for names.
                raise TypeError("a scope of an Identity is a set of names and ids, not a text")

    @classmethod
    def of_scope(cls, name: str, scope: Mapping[str, Any]) -> Identity:
        """Make an identity of the lists of a credential, of which an absent or empty one is no restriction.

        :raises ValueError: for a key that no scope has, and for a value that is no list: none may be read as "all".
        """
        if set(scope) - {*_ROWS, "methods"}:
            # Without the key: in a mapping of names to tokens it is a token.
            raise ValueError(f"keys besides {', '.join(_ROWS)}, methods and name")
        rows = {key: _rows(key, scope[key]) for key in _ROWS if scope.get(key) is not None}
        methods = scope.get("methods")
        return cls(name, methods=None if methods is None else _methods(methods), **rows)

    def may_call(self, service: str, method: str) -> bool:
        """Return whether this caller may call a method, by its full name."""
        return self.methods is None or not self.methods.isdisjoint((f"{service}/{method}", f"{service}/*"))


def _rows(key: str, value: object) -> frozenset[int | str] | None:
    if not isinstance(value, list | tuple | set | frozenset) or not all(map(_is_reference, value)):
        raise ValueError(f"{key} are not a list of ids or {_ROWS[key]}")
    return frozenset(value) or None


def _is_reference(item: object) -> bool:
    if type(item) is int:
        return -_MAX_ID <= item <= _MAX_ID
    return type(item) is str and bool(item.strip()) and "\0" not in item


def _methods(value: object) -> frozenset[str] | None:
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError("methods are not a list of 'pkg.Service/Method' or 'pkg.Service/*'")
    for item in value:
        if type(item) is not str or METHOD_NAME.fullmatch(item) is None:
            raise ValueError(f"methods have {item!r}, which is not 'pkg.Service/Method' or 'pkg.Service/*'")
    return frozenset(value) or None


ANONYMOUS = Identity()
"""A stranger, who may do everything."""


class _CallIds:
    """Makes names of calls; the system is asked for many at once, which takes no longer than for one."""

    def __init__(self) -> None:
        self._spare: deque[str] = deque()
        renew_after_fork(self, lambda ids: ids._spare.clear())

    def make(self) -> str:
        """A name that no other call has."""
        spare = self._spare
        try:
            return spare.pop()
        except IndexError:
            made: str
            made, *others = (piece.hex() for (piece,) in struct.iter_unpack("8s", os.urandom(8 * 100)))
            spare.extend(others)
            return made


_call_ids = _CallIds()


class NamedService(Protocol):
    """The service of a method."""

    @property
    def name(self) -> str:
        """Its full name, ``package.Service``."""
        ...

    def declared_error(self, error: Exception) -> RpcError | None:
        """Turn a declared exception into the status it was declared as; None for any other."""
        ...


class CalledMethod(Protocol):
    """The method of a call, as far as the call tells; it is a :class:`~flask_grpcweb_scm.rpc.RpcMethod`."""

    @property
    def service(self) -> NamedService:
        """The service that has the method."""
        ...

    @property
    def name(self) -> str:
        """Its name in the service."""
        ...

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""
        ...

    @property
    def client_streaming(self) -> bool:
        """True when the requests are a stream."""
        ...

    @property
    def server_streaming(self) -> bool:
        """True when the responses are a stream."""
        ...


class CallContext:
    """One call: who makes it, until when, with what metadata.

    A test may construct one by hand, to call a service function with it.

    :param metadata: sent by the caller.
    :param timeout: seconds from now; None for no deadline.
    """

    method: CalledMethod | None
    deadline: float | None
    """An instant of :func:`time.monotonic`, or None."""
    caller: Identity = ANONYMOUS
    peer: str
    """The caller's network address."""
    protocol: str = ""
    """``grpc-web``, ``connect`` or ``grpc``; empty for one that was made by hand, and for a request of no protocol."""
    responses: object = None
    """Of a streaming service function, without what interceptors have put around it."""
    _call_id = ""
    given_initial_metadata: Metadata | None
    """:attr:`initial_metadata`, if anything was done with it."""
    given_trailing_metadata: Metadata | None
    """:attr:`trailing_metadata`, if anything was done with it."""

    def __init__(
        self,
        method: CalledMethod | None = None,
        *,
        metadata: Metadata | None = None,
        timeout: float | None = None,
        caller: Identity | None = None,
        peer: str = "",
    ) -> None:
        self.method = method
        if metadata is not None:
            self.metadata = metadata
        self.set_timeout(timeout)
        self.caller = caller or ANONYMOUS
        self.peer = peer
        self.given_initial_metadata = self.given_trailing_metadata = None

    # Most calls need none of these.

    @property
    def path(self) -> str:
        """``/package.Service/Method``; of a request that names no method that is served, the path as it came."""
        return self.method.path if self.method else ""

    @functools.cached_property
    def metadata(self) -> Metadata:
        """Sent by the caller."""
        return Metadata()

    @property
    def initial_metadata(self) -> Metadata:
        """To send before the first message: a stream's is fixed when its first message is out."""
        if self.given_initial_metadata is None:
            self.given_initial_metadata = Metadata()
        return self.given_initial_metadata

    @property
    def trailing_metadata(self) -> Metadata:
        """To send after the last message."""
        if self.given_trailing_metadata is None:
            self.given_trailing_metadata = Metadata()
        return self.given_trailing_metadata

    @property
    def call_id(self) -> str:
        """Names this call in the log, and in the text of an internal error."""
        if not self._call_id:
            self._call_id = _call_ids.make()
        return self._call_id

    @property
    def message_bytes(self) -> bytes:
        """The request message as its sender serialized it, for an authenticator to verify.

        :raises RpcError: UNAUTHENTICATED, when the requests are a stream: it has no one message to sign.
        """
        raise RpcError(StatusCode.UNAUTHENTICATED, "a stream of requests cannot be signed; use a token")

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
