"""What all functions of ScmService share: the service they are bound to, and its errors."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import RpcError, Service, StatusCode, retry_info
from flask_grpcweb_scm.scm.database.transaction import transaction
from flask_grpcweb_scm.scm.sources.git_process import GitError, GitTimeout
from flask_grpcweb_scm.scm.trackers import (
    TrackerConflict,
    TrackerError,
    TrackerForbidden,
    TrackerMisconfigured,
    TrackerNotFound,
    TrackerRateLimited,
    TrackerRejected,
    TrackerTimeout,
    TrackerUnavailable,
)
from flask_grpcweb_scm.scm.validation import bad_request, precondition_failure

__all__ = ["already_exists", "service"]


def tracker_details(error: TrackerError) -> Iterator[Message]:
    """What a client can act on: fields to correct, when to come back, what an administrator has to change."""
    if error.fields:
        yield bad_request(error.fields)
    if error.retry_after is not None:
        yield retry_info(error.retry_after)
    if isinstance(error, TrackerMisconfigured):
        yield precondition_failure("TRACKER", error.tracker, str(error))


service = Service(scm_pb2.DESCRIPTOR.services_by_name["ScmService"])
service.declare_error(GitTimeout, StatusCode.DEADLINE_EXCEEDED)
service.declare_error(
    GitError,
    StatusCode.FAILED_PRECONDITION,
    details=lambda error: [precondition_failure("SOURCE", "repository", str(error))],
)
for error_class, code in {
    TrackerMisconfigured: StatusCode.FAILED_PRECONDITION,  # its credentials too: 16 would be about the caller's
    TrackerForbidden: StatusCode.PERMISSION_DENIED,
    TrackerNotFound: StatusCode.NOT_FOUND,
    TrackerConflict: StatusCode.ABORTED,
    TrackerRejected: StatusCode.INVALID_ARGUMENT,
    TrackerRateLimited: StatusCode.RESOURCE_EXHAUSTED,
    TrackerUnavailable: StatusCode.UNAVAILABLE,
    TrackerTimeout: StatusCode.DEADLINE_EXCEEDED,
}.items():
    service.declare_error(error_class, code, details=tracker_details)
service.intercept(transaction)


def already_exists(kind: str, row_id: int, text: str) -> RpcError:
    """The error that names the row of that kind which is there already."""
    details = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=str(row_id), description=text)
    return RpcError(StatusCode.ALREADY_EXISTS, text, details=[details])
