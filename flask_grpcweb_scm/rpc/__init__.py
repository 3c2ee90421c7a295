"""Services, their functions and the calls to them: protobuf, but no Flask."""

from flask_grpcweb_scm.rpc.call import (
    Authenticate,
    Endpoint,
    IncomingCall,
    LimitStreams,
    Pairs,
    Reply,
    RpcProtocol,
    peer_name,
)
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
from flask_grpcweb_scm.rpc.service import Interceptor, Interceptors, RpcMethod, Service, ServiceFunction, is_async
from flask_grpcweb_scm.rpc.stream import StreamReply, serve_stream
from flask_grpcweb_scm.rpc.unary import serve_unary
from flask_grpcweb_scm.wire import StatusCode

__all__ = [
    "ANONYMOUS",
    "METHOD_NAME",
    "Authenticate",
    "CallContext",
    "CalledMethod",
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
    "Service",
    "ServiceDefinitionError",
    "ServiceFunction",
    "StatusCode",
    "StreamReply",
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
