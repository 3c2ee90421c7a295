"""The client under test of the Connect conformance suite, written with the public API only.

``python -m tests.conformance.client`` reads size-prefixed ClientCompatRequests from standard input, makes the calls
that they describe, and writes size-prefixed ClientCompatResponses to standard output. run.sh generates the messages
that it imports.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from connectrpc.conformance.v1 import client_compat_pb2, config_pb2, service_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from flask_grpcweb_scm.client import CallError, Channel, Metadata
from flask_grpcweb_scm.client.channel import snake_case
from flask_grpcweb_scm.wire import decode_binary

SERVICE = service_pb2.DESCRIPTOR.services_by_name["ConformanceService"]
THREADS = 8


def main() -> None:
    output = threading.Lock()

    def answer(request: Any) -> None:
        response = client_compat_pb2.ClientCompatResponse(test_name=request.test_name)
        try:
            response.response.CopyFrom(run(request))
        except Exception as error:
            response.error.message = repr(error)
        data = response.SerializeToString()
        with output:
            sys.stdout.buffer.write(struct.pack("!I", len(data)) + data)
            sys.stdout.buffer.flush()

    with ThreadPoolExecutor(THREADS) as threads:
        for request in read_requests():
            threads.submit(answer, request)


def read_requests() -> Iterator[Any]:
    while prefix := sys.stdin.buffer.read(4):
        (size,) = struct.unpack("!I", prefix)
        yield client_compat_pb2.ClientCompatRequest.FromString(sys.stdin.buffer.read(size))


def run(request: Any) -> Any:
    with tempfile.NamedTemporaryFile() as certificates:
        Path(certificates.name).write_bytes(request.server_tls_cert)
        with Channel(
            f"{'https' if request.server_tls_cert else 'http'}://{request.host}:{request.port}",
            ca_certs=certificates.name if request.server_tls_cert else None,
            protocol=config_pb2.Protocol.Name(request.protocol).removeprefix("PROTOCOL_").lower().replace("_", "-"),
            use_get=request.use_get_http_method,
            codec=config_pb2.Codec.Name(request.codec).removeprefix("CODEC_").lower(),
            compression=compression(request.compression),
            max_message_bytes=request.message_receive_limit or 4 * 2**20,
        ) as channel:
            return make_call(channel, request)


def compression(value: int) -> str | None:
    name: str = config_pb2.Compression.Name(value).removeprefix("COMPRESSION_").lower()
    return None if name in {"unspecified", "identity"} else name


def make_call(channel: Channel, request: Any) -> Any:
    method = getattr(channel.stub(SERVICE), snake_case(request.method))
    descriptor = SERVICE.methods_by_name[request.method]
    call = method.start(
        messages(request, lambda: call) if descriptor.client_streaming else unpack(request.request_messages[0]),
        timeout=request.timeout_ms / 1000 if request.HasField("timeout_ms") else None,
        metadata=metadata(request.request_headers),
    )
    if request.cancel.HasField("after_close_send_ms") and not descriptor.client_streaming:
        threading.Timer(request.cancel.after_close_send_ms / 1000, call.cancel).start()
    result = client_compat_pb2.ClientResponseResult()
    try:
        if descriptor.server_streaming:
            for number, response in enumerate(call, 1):
                result.payloads.append(response.payload)
                if request.cancel.after_num_responses == number:
                    call.cancel()
        else:
            result.payloads.append(call.result().payload)
    except CallError as error:
        add_error(result, error)
    add_headers(result.response_headers, call.initial_metadata)
    add_headers(result.response_trailers, call.trailing_metadata)
    return result


def messages(request: Any, call: Any) -> Iterator[Message]:
    for message in request.request_messages:
        time.sleep(request.request_delay_ms / 1000)
        yield unpack(message)
    timing = request.cancel.WhichOneof("cancel_timing")
    if timing == "before_close_send":
        call().cancel()
    elif timing == "after_close_send_ms":
        threading.Timer(request.cancel.after_close_send_ms / 1000, call().cancel).start()


def unpack(message: AnyMessage) -> Message:
    unpacked: Message = getattr(service_pb2, message.TypeName().rpartition(".")[2])()
    assert message.Unpack(unpacked)
    return unpacked


def metadata(headers: Any) -> Metadata:
    return Metadata(
        (header.name, decode_binary(value) if header.name.lower().endswith("-bin") else value)
        for header in headers
        for value in header.value
    )


def add_headers(headers: Any, received: Metadata) -> None:
    for name, value in received.to_headers():
        headers.add(name=name, value=[value])


def add_error(result: Any, error: CallError) -> None:
    result.error.code = int(error.code)
    result.error.message = error.message
    for detail in error.details:
        if isinstance(detail, AnyMessage):
            result.error.details.append(detail)
        else:
            result.error.details.add().Pack(detail)


if __name__ == "__main__":
    main()
