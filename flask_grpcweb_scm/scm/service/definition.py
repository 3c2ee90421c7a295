"""What all functions of ScmService share: the service they are bound to, and its errors."""

from __future__ import annotations

from google.rpc import error_details_pb2

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import RpcError, Service, StatusCode
from flask_grpcweb_scm.scm.git_process import GitError, GitTimeout
from flask_grpcweb_scm.scm.transaction import transaction

__all__ = ["already_exists", "service"]

service = Service(scm_pb2.DESCRIPTOR.services_by_name["ScmService"])
service.declare_error(GitTimeout, StatusCode.DEADLINE_EXCEEDED)
service.declare_error(GitError, StatusCode.FAILED_PRECONDITION)
service.intercept(transaction)
service.unimplemented(
    "StreamRepositories",
    "BatchGetCommitContext",
    "ListCodeMappings",
    "DeleteCodeMapping",
    "ListExternalIssues",
    "UnlinkExternalIssue",
)


def already_exists(kind: str, row_id: int, text: str) -> RpcError:
    """The error that names the row of that kind which is there already."""
    details = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=str(row_id), description=text)
    return RpcError(StatusCode.ALREADY_EXISTS, text, details=[details])
