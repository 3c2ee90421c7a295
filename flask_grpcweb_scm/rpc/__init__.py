"""Services, their functions and the calls to them: protobuf, but no Flask."""

from flask_grpcweb_scm.rpc.call import Endpoint, IncomingCall, Pairs, Reply, RpcProtocol, peer_name
from flask_grpcweb_scm.rpc.call_settings import Authenticate, LimitStreams
from flask_grpcweb_scm.rpc.codec import Codec, codecs
from flask_grpcweb_scm.rpc.context import ANONYMOUS, METHOD_NAME, CallContext, CalledMethod, Identity
from flask_grpcweb_scm.rpc.dispatcher import Dispatcher, Server
from flask_grpcweb_scm.rpc.errors import (
    Incidents,
    ResponseTypeError,
    RpcError,
    ServiceDefinitionError,
    did_you_mean,
    nearest,
    printable,
    retry_info,
    unavailable,
)
from flask_grpcweb_scm.rpc.functions import (
    BatchedBidirectionalFunction,
    BatchedServerStreamingFunction,
    BidirectionalFunction,
    CallNext,
    ClientStreamingFunction,
    Interceptor,
    ServerStreamingFunction,
    ServiceFunction,
    UnaryFunction,
)
from flask_grpcweb_scm.rpc.service import Interceptors, RpcMethod, Service, is_async
from flask_grpcweb_scm.rpc.stream import StreamReply, serve_stream
from flask_grpcweb_scm.rpc.unary import serve_unary
from flask_grpcweb_scm.wire import StatusCode

__all__ = [
    "ANONYMOUS",
    "METHOD_NAME",
    "Authenticate",
    "BatchedBidirectionalFunction",
    "BatchedServerStreamingFunction",
    "BidirectionalFunction",
    "CallContext",
    "CallNext",
    "CalledMethod",
    "ClientStreamingFunction",
    "Codec",
    "Dispatcher",
    "Endpoint",
    "Identity",
    "Incidents",
    "IncomingCall",
    "Interceptor",
    "Interceptors",
    "LimitStreams",
    "Pairs",
    "Reply",
    "ResponseTypeError",
    "RpcError",
    "RpcMethod",
    "RpcProtocol",
    "Server",
    "ServerStreamingFunction",
    "Service",
    "ServiceDefinitionError",
    "ServiceFunction",
    "StatusCode",
    "StreamReply",
    "UnaryFunction",
    "codecs",
    "did_you_mean",
    "is_async",
    "nearest",
    "peer_name",
    "printable",
    "retry_info",
    "serve_stream",
    "serve_unary",
    "unavailable",
]
