"""Expecting the status that a call ends with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.wire import StatusCode

__all__ = ["CaughtError", "assert_rpc_error"]


class CaughtError:
    """What :func:`assert_rpc_error` caught, for a closer look after its block."""

    def __init__(self) -> None:
        self._error: RpcError | None = None

    @property
    def value(self) -> RpcError:
        """The error; a :class:`~flask_grpcweb_scm.client.CallError`, with metadata, when a client raised it."""
        assert self._error is not None, "the block has not ended yet"
        return self._error


@contextlib.contextmanager
def assert_rpc_error(code: StatusCode | int, match: str = "") -> Iterator[CaughtError]:
    """Assert that the block ends with an RpcError: of a service function that it calls, or of a client.

    :param match: a regular expression to find in the message.
    :raises AssertionError: when the block ends without an error, or with another status or message.
    """
    expected = StatusCode(code)
    caught = CaughtError()
    try:
        yield caught
    except RpcError as error:
        caught._error = error
        if error.code is not expected:
            raise AssertionError(f"expected {expected.name}, got {error}") from error
        if re.search(match, error.message) is None:
            raise AssertionError(f"the message {error.message!r} does not match {match!r}") from error
    else:
        raise AssertionError(f"expected {expected.name}, got no error")
