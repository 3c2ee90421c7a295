"""The service of greeter.proto, in a Flask app."""

from collections.abc import Iterator

from flask import Flask
from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode

from greeter_pb2 import CountReply, CountRequest, HelloReply, HelloRequest
from greeter_rpc import Greeter

greeter = Greeter()


@greeter.SayHello
def say_hello(request: HelloRequest, context: CallContext) -> HelloReply:
    if not request.name:
        raise RpcError(StatusCode.INVALID_ARGUMENT, "name is empty")
    return HelloReply(text=f"Hello {request.name}")


@greeter.CountTo
def count_to(request: CountRequest, context: CallContext) -> Iterator[CountReply]:
    for number in range(1, request.limit + 1):
        yield CountReply(number=number)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["GRPC_SCM"] = False  # the service of the package
    app.config["GRPC_REQUIRE_AUTH"] = False  # open until this is taken out
    app.config.from_prefixed_env()
    GrpcWebScm(app, services=[greeter])
    return app
