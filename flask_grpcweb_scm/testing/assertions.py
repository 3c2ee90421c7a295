"""Assertions on the status of a call."""

from __future__ import annotations

import re
from types import TracebackType

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.wire import StatusCode

__all__ = ["ExpectedError", "assert_rpc_error"]


def assert_rpc_error(code: StatusCode | int, match: str = "") -> ExpectedError:
    """Assert that a block ends with an RpcError: of a service function that it calls, or of a client.

    :param match: a regular expression to find in the message.
    :raises AssertionError: at the end of a block without an error, or with another status or message.
    """
    return ExpectedError(StatusCode(code), match)


class ExpectedError:
    """The context manager of :func:`assert_rpc_error`."""

    def __init__(self, code: StatusCode, match: str) -> None:
        self._code = code
        self._match = match
        self._error: RpcError | None = None

    @property
    def value(self) -> RpcError:
        """The error, after the block; from a client a :class:`~flask_grpcweb_scm.client.CallError`, with metadata."""
        assert self._error is not None, "the block has not ended yet"
        return self._error

    def __enter__(self) -> ExpectedError:
        return self

    # Not `bool | None`: type checkers would consider code after a block that always raises unreachable.
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            raise AssertionError(f"expected {self._code.name}, got no error")
        if not isinstance(error, RpcError):
            return False
        if error.code is not self._code:
            raise AssertionError(f"expected {self._code.name}, got {error}") from error
        if re.search(self._match, error.message) is None:
            raise AssertionError(f"the message {error.message!r} does not match {self._match!r}") from error
        self._error = error
        return True
