"""A Python client of services in gRPC-Web or Connect: channels, stubs, and a client of ScmService. No Flask."""

from flask_grpcweb_scm.client.call import Call, RetryPolicy
from flask_grpcweb_scm.client.channel import Channel, StreamMethod, Stub, UnaryMethod
from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.client.http import Exchange, Head, Request, Transport, TransportError
from flask_grpcweb_scm.client.lists import DerivedMappings, Page, SuspectCommits
from flask_grpcweb_scm.client.records import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitContext,
    CommitContextOutcome,
    ExternalIssue,
    FoundExternalIssue,
    FrameOutcome,
    Group,
    Integration,
    PathOutcome,
    Project,
    Record,
    Repository,
    StackFrame,
    SuspectCommit,
    TrackerField,
)
from flask_grpcweb_scm.client.scm import ScmGrpcClient
from flask_grpcweb_scm.client.scm_stub import ScmStub
from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.wire import Metadata, StatusCode

__all__ = [
    "Call",
    "CallError",
    "Channel",
    "CodeMapping",
    "Commit",
    "CommitAuthor",
    "CommitContext",
    "CommitContextOutcome",
    "DerivedMappings",
    "Exchange",
    "ExternalIssue",
    "FoundExternalIssue",
    "FrameOutcome",
    "Group",
    "Head",
    "Integration",
    "Metadata",
    "Page",
    "PathOutcome",
    "Project",
    "Record",
    "Repository",
    "Request",
    "RetryPolicy",
    "RpcError",
    "ScmGrpcClient",
    "ScmStub",
    "StackFrame",
    "StatusCode",
    "StreamMethod",
    "Stub",
    "SuspectCommit",
    "SuspectCommits",
    "TrackerField",
    "Transport",
    "TransportError",
    "UnaryMethod",
]
