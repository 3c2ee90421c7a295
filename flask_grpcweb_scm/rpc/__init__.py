"""Services, their functions and the calls to them: protobuf, but no Flask."""

from flask_grpcweb_scm.rpc.codec import Codec, codecs
from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.did_you_mean import did_you_mean
from flask_grpcweb_scm.rpc.dispatcher import Dispatcher
from flask_grpcweb_scm.rpc.errors import ResponseTypeError, RpcError, ServiceDefinitionError, retry_info
from flask_grpcweb_scm.rpc.exchange import (
    Authenticate,
    Exchange,
    Reply,
    Server,
    StreamReply,
    error_reply,
    refusal_headers,
)
from flask_grpcweb_scm.rpc.identity import ANONYMOUS, Identity
from flask_grpcweb_scm.rpc.incoming import CallForm, IncomingCall, peer_name
from flask_grpcweb_scm.rpc.plain import call_form
from flask_grpcweb_scm.rpc.service import Interceptor, RpcMethod, Service, ServiceFunction
from flask_grpcweb_scm.wire import StatusCode

__all__ = [
    "ANONYMOUS",
    "Authenticate",
    "CallContext",
    "CallForm",
    "Codec",
    "Dispatcher",
    "Exchange",
    "Identity",
    "IncomingCall",
    "Interceptor",
    "Reply",
    "ResponseTypeError",
    "RpcError",
    "RpcMethod",
    "Server",
    "Service",
    "ServiceDefinitionError",
    "ServiceFunction",
    "StatusCode",
    "StreamReply",
    "call_form",
    "codecs",
    "did_you_mean",
    "error_reply",
    "peer_name",
    "refusal_headers",
    "retry_info",
]
