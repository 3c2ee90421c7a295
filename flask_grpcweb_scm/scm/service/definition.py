"""The service that all functions are bound to, the status codes of errors, and the transaction around each call."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from flask_grpcweb_scm.pb.scm_rpc import ScmService
from flask_grpcweb_scm.rpc import RpcError, StatusCode, retry_info
from flask_grpcweb_scm.scm.providers import (
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.queries.paging import PAGE_BYTES
from flask_grpcweb_scm.scm.sources.git import GitError, GitTimeout
from flask_grpcweb_scm.scm.validation import bad_request, precondition_failure
from flask_grpcweb_scm.transactions import transaction

__all__ = ["already_exists", "attempt", "cut_to_page", "service"]

T = TypeVar("T")


def provider_details(error: ProviderError) -> Iterator[Message]:
    """Yield details that clients can act on: fields to correct, when to retry, settings to change."""
    if error.fields:
        yield bad_request(error.fields)
    if error.retry_after is not None:
        yield retry_info(error.retry_after)
    if isinstance(error, ProviderMisconfigured):
        yield precondition_failure("TRACKER", error.provider, str(error))


service: ScmService = ScmService()
"""The :class:`~flask_grpcweb_scm.Service` with the methods of ScmService, such as for interceptors of its own."""
service.declare_error(GitTimeout, StatusCode.DEADLINE_EXCEEDED)
service.declare_error(
    GitError,
    StatusCode.FAILED_PRECONDITION,
    details=lambda error: [precondition_failure("SOURCE", "repository", str(error))],
)
for error_class, code in {
    ProviderMisconfigured: StatusCode.FAILED_PRECONDITION,  # its credentials too: 16 would be about the caller's
    ProviderForbidden: StatusCode.PERMISSION_DENIED,
    ProviderNotFound: StatusCode.NOT_FOUND,
    ProviderConflict: StatusCode.ABORTED,
    ProviderRejected: StatusCode.INVALID_ARGUMENT,
    ProviderRateLimited: StatusCode.RESOURCE_EXHAUSTED,
    ProviderUnavailable: StatusCode.UNAVAILABLE,
    ProviderTimeout: StatusCode.DEADLINE_EXCEEDED,
}.items():
    service.declare_error(error_class, code, details=provider_details)
service.intercept(transaction)


def already_exists(kind: str, row_id: int, text: str) -> RpcError:
    """Make the error that names the row that exists."""
    details = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=str(row_id), description=text)
    return RpcError(StatusCode.ALREADY_EXISTS, text, details=[details])


def cut_to_page(response: Message, rows: MutableSequence[Any]) -> bool:
    """Remove rows of a response after the one with which it has :data:`PAGE_BYTES`; returns whether there were any."""
    if response.ByteSize() <= PAGE_BYTES:
        return False
    sizes = itertools.accumulate(row.ByteSize() for row in rows)
    number = 1 + sum(size < PAGE_BYTES for size in sizes)
    is_cut: bool = number < len(rows)
    del rows[number:]
    return is_cut


def attempt(function: Callable[[], T]) -> T | RpcError:
    """Return the result of a function, or the status that its error would end a call with."""
    try:
        return function()
    except RpcError as error:
        return error
    except Exception as error:
        status = service.declared_error(error)
        if status is None:
            raise
        return status
