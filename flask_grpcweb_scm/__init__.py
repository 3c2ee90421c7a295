"""Typed RPC for the browser, straight from a Flask app: gRPC-Web as a Flask extension."""

from flask_grpcweb_scm.blueprint import current_rpc, rpc_finished, rpc_started
from flask_grpcweb_scm.extension import GrpcWebScm
from flask_grpcweb_scm.rpc import CallContext, Identity, RpcError, Service, ServiceDefinitionError, StatusCode
from flask_grpcweb_scm.settings import ConfigError
from flask_grpcweb_scm.wire import Metadata

__all__ = [
    "CallContext",
    "ConfigError",
    "GrpcWebScm",
    "Identity",
    "Metadata",
    "RpcError",
    "Service",
    "ServiceDefinitionError",
    "StatusCode",
    "current_rpc",
    "rpc_finished",
    "rpc_started",
]
