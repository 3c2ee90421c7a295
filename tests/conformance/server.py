"""The server under test of the Connect conformance suite, written with the public API only.

``python -m tests.conformance.server [gunicorn|granian|waitress|pyvoy]`` reads a size-prefixed ServerCompatRequest from
standard input, answers a ServerCompatResponse on standard output, and serves until SIGTERM. run.sh generates the
messages that it imports.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from connectrpc.conformance.v1 import server_compat_pb2, service_pb2
from flask import Flask
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from flask_grpcweb_scm import CallContext, GrpcWebScm, Metadata, RpcError, Service
from flask_grpcweb_scm.wire import decode_binary
from tests.servers import free_port

SERVICE = service_pb2.DESCRIPTOR.services_by_name["ConformanceService"]
START_SECONDS = 9.0

conformance = Service(SERVICE)
conformance.unimplemented("Unimplemented")


class UnaryRequest(Protocol):
    response_definition: Any


class BidiRequest(UnaryRequest, Protocol):
    full_duplex: bool


@conformance.rpc("Unary")
def unary(request: UnaryRequest, context: CallContext) -> Message:
    return _answer([request], context, service_pb2.UnaryResponse)


@conformance.rpc("IdempotentUnary")
def idempotent_unary(request: UnaryRequest, context: CallContext) -> Message:
    return _answer([request], context, service_pb2.IdempotentUnaryResponse)


@conformance.rpc("ClientStream")
def client_stream(requests: Iterator[UnaryRequest], context: CallContext) -> Message:
    return _answer(list(requests), context, service_pb2.ClientStreamResponse)


@conformance.rpc("ServerStream")
def server_stream(request: UnaryRequest, context: CallContext) -> Iterator[Message]:
    yield from _stream([request], context, service_pb2.ServerStreamResponse)


@conformance.rpc("BidiStream")
def bidi_stream(requests: Iterator[BidiRequest], context: CallContext) -> Iterator[Message]:
    first = next(requests, None)
    if first is None:
        return
    if not first.full_duplex:
        yield from _stream([first, *requests], context, service_pb2.BidiStreamResponse)
        return
    definition = first.response_definition
    _add_metadata(definition, context)
    info = _request_info([first], context)
    for number, data in enumerate(definition.response_data):
        if number:
            info = service_pb2.ConformancePayload.RequestInfo()
            for request in itertools.islice(requests, 1):
                info.requests.add().Pack(request)
        time.sleep(definition.response_delay_ms / 1000)
        payload = service_pb2.ConformancePayload(data=data, request_info=info)
        yield service_pb2.BidiStreamResponse(payload=payload)
    if definition.HasField("error"):
        raise _error(definition.error, None if definition.response_data else info)


def _answer(requests: Sequence[Any], context: CallContext, response_class: type[Any]) -> Message:
    info = _request_info(requests, context)
    definition = requests[0].response_definition if requests else service_pb2.UnaryResponseDefinition()
    _add_metadata(definition, context)
    time.sleep(definition.response_delay_ms / 1000)
    if definition.HasField("error"):
        raise _error(definition.error, info)
    payload = service_pb2.ConformancePayload(data=definition.response_data, request_info=info)
    response: Message = response_class(payload=payload)
    return response


def _stream(requests: Sequence[Any], context: CallContext, response_class: type[Any]) -> Iterator[Message]:
    info = _request_info(requests, context)
    definition = requests[0].response_definition if requests else service_pb2.StreamResponseDefinition()
    _add_metadata(definition, context)
    for number, data in enumerate(definition.response_data):
        time.sleep(definition.response_delay_ms / 1000)
        yield response_class(
            payload=service_pb2.ConformancePayload(data=data, request_info=info if number == 0 else None)
        )
    if definition.HasField("error"):
        raise _error(definition.error, None if definition.response_data else info)


def _request_info(requests: Sequence[Message], context: CallContext) -> Any:
    info = service_pb2.ConformancePayload.RequestInfo()
    remaining = context.remaining()
    if remaining is not None:
        info.timeout_ms = round(remaining * 1000)
    for name, value in context.metadata.to_headers():
        info.request_headers.add(name=name, value=[value])
    for request in requests:
        info.requests.add().Pack(request)
    return info


def _add_metadata(definition: Any, context: CallContext) -> None:
    def add(metadata: Metadata, headers: Sequence[Any]) -> None:
        for header in headers:
            for value in header.value:
                metadata.add(header.name, decode_binary(value) if header.name.endswith("-bin") else value)

    add(context.initial_metadata, definition.response_headers)
    add(context.trailing_metadata, definition.response_trailers)


def _error(error: Any, info: Message | None) -> RpcError:
    details = list(error.details)
    if info is not None:
        packed = AnyMessage()
        packed.Pack(info)
        details.append(packed)
    return RpcError(error.code, error.message, details)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    GrpcWebScm(services=[conformance]).init_app(app)
    return app


def __getattr__(name: str) -> Flask:
    # pyvoy calls no function for its app.
    if name != "app":
        raise AttributeError(name)
    return create_app()


# Starting a real server around the app


def command(server: str, port: int, tls: Sequence[str]) -> list[str]:
    app = "tests.conformance.server:create_app()"
    if server == "gunicorn":
        options = ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "64", "--keep-alive", "30"]
        files = ["--certfile", tls[0], "--keyfile", tls[1]] if tls else []
        return [
            sys.executable,
            "-m",
            "gunicorn",
            "--no-control-socket",
            "--log-level",
            "warning",
            *options,
            *files,
            app,
        ]
    if server == "granian":
        factory = app.removesuffix("()")
        files = ["--ssl-certificate", tls[0], "--ssl-keyfile", tls[1]] if tls else []
        options = ["--interface", "wsgi", "--port", str(port), "--blocking-threads", "64", "--factory"]
        return [sys.executable, "-m", "granian", *options, "--log-level", "warning", *files, factory]
    if server == "pyvoy":
        files = ["--tls-cert", tls[0], "--tls-key", tls[1], "--tls-disable-http3"] if tls else []
        program = str(Path(sys.executable).with_name("pyvoy"))
        return [program, app.removesuffix("create_app()") + "app", "--interface", "wsgi", "--port", str(port), *files]
    if server == "waitress" and not tls:
        listen = ["--listen", f"127.0.0.1:{port}", "--threads", "64"]
        return [sys.executable, "-m", "waitress", *listen, "--call", app.removesuffix("()")]
    raise SystemExit(f"{server} is not gunicorn, granian, pyvoy or (without TLS) waitress")


def main() -> None:
    server = sys.argv[1] if len(sys.argv) > 1 else "gunicorn"
    (size,) = struct.unpack("!I", sys.stdin.buffer.read(4))
    request = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(size))
    with tempfile.TemporaryDirectory() as folder:
        tls = []
        if request.use_tls:
            for name, content in (("cert.pem", request.server_creds.cert), ("key.pem", request.server_creds.key)):
                Path(folder, name).write_bytes(content)
                tls.append(f"{folder}/{name}")
        serve(server, request, tls)


def serve(server: str, request: Any, tls: Sequence[str]) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "FLASK_GRPC_SCM": "false",
        "FLASK_TESTING": "true",
        # The suite expects no deadline where it sends none, and opens as many streams as it likes.
        "FLASK_GRPC_DEFAULT_TIMEOUT": "null",
        "FLASK_GRPC_MAX_STREAMS": "null",
        "FLASK_GRPC_MAX_STREAMS_TOTAL": "null",
    }
    if request.message_receive_limit:
        environment["FLASK_GRPC_MAX_MESSAGE_BYTES"] = str(request.message_receive_limit)
    process = subprocess.Popen(command(server, port, tls), stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment)

    def stop(signal_number: int, frame: FrameType | None) -> None:
        process.terminate()

    signal.signal(signal.SIGTERM, stop)
    try:
        wait_until_listening(port)
        cert = request.server_creds.cert if request.use_tls else b""
        response = server_compat_pb2.ServerCompatResponse(host="127.0.0.1", port=port, pem_cert=cert)
        data = response.SerializeToString()
        sys.stdout.buffer.write(struct.pack("!I", len(data)) + data)
        sys.stdout.buffer.flush()
        process.wait()
    finally:
        # Also when the suite has given up waiting, and reads no more.
        process.terminate()


def wait_until_listening(port: int) -> None:
    stop = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > stop:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    main()
