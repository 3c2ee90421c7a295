"""Channels: credentials, and what they refuse; methods of a stub under their Python names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.wrappers_pb2 import StringValue

from flask_grpcweb_scm.client import Channel, StatusCode
from flask_grpcweb_scm.client.channel import snake_case
from flask_grpcweb_scm.testing import assert_rpc_error, channel_for
from tests.apps import echo_app
from tests.client.support import ECHO, WAYS, echo_stub
from tests.echo_pb2 import EchoReply, EchoRequest


def test_a_token_is_sent() -> None:
    app = echo_app(GRPC_AUTH_TOKENS="right")
    assert channel_for(app, token="right").stub(ECHO).unary(EchoRequest(text="a")).text == "A"
    for channel in (channel_for(app, token="wrong"), channel_for(app)):
        with assert_rpc_error(StatusCode.UNAUTHENTICATED):
            channel.stub(ECHO).unary(EchoRequest())


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("data", [b"", b"\0" * 5000])
def test_requests_are_signed(options: dict[str, Any], data: bytes) -> None:
    app = echo_app(GRPC_HMAC_SECRETS=["new"], GRPC_HMAC_REQUIRE_TIMESTAMP=True)
    stub = channel_for(app, hmac_secret="new", **options).stub(ECHO)
    assert stub.unary(EchoRequest(text="a", data=data)).text == "A"
    assert len(list(stub.server_stream(EchoRequest(count=2)))) == 2
    with assert_rpc_error(StatusCode.UNAUTHENTICATED):
        channel_for(app, hmac_secret="old", **options).stub(ECHO).unary(EchoRequest())


def test_a_stream_of_requests_cannot_be_signed() -> None:
    with assert_rpc_error(StatusCode.UNAUTHENTICATED, match=r" use a token"):
        echo_stub({"hmac_secret": "s"}).client_stream([])


def test_a_channel_does_not_show_its_token() -> None:
    assert "secret" not in repr(Channel("http://example.test/api/", token="secret"))


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("example.test", {}, "is not the URL of a server"),
        ("ftp://example.test", {}, "is not the URL of a server"),
        ("http://", {}, "is not the URL of a server"),
        ("http://user:pass@example.test", {}, "no user"),
        ("http://example.test/?a=b", {}, "query"),
        ("http://example.test", {"codec": "jso"}, r"did you mean 'json'\?"),
        ("http://example.test", {"compression": "gz"}, "compression is one of gzip, deflate"),
        ("http://example.test", {"protocol": "connnect"}, r"protocol is one of grpc-web, connect; .* did you mean"),
        ("http://example.test", {"protocol": "connect", "text": True}, "text=True is for gRPC-Web"),
        ("http://example.test", {"use_get": True}, "set protocol='connect', too"),
        ("http://example.test", {"token": "a\nb"}, "x-grpc-auth-token"),
        ("http://example.test", {"metadata": {"grpc-status": "0"}}, "reserved"),
    ],
)
def test_a_mistake_in_the_options_of_a_channel(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Channel(url, **options)
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, FileNotFoundError), ("", ValueError), ("no PEM", ValueError), (Path, IsADirectoryError)],
)
def test_a_file_of_certificates_that_cannot_be_read_is_named(
    tmp_path: Path, content: Any, kind: type[Exception]
) -> None:
    path = tmp_path / "trusted.pem"
    if content is Path:
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(kind, match=f"'{path}'"):
        Channel("https://example.test", ca_certs=str(path))


def test_an_empty_name_of_a_file_does_not_mean_the_certificates_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        Channel("https://example.test", ca_certs="")


def test_a_requestof_another_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes tests\.echo\.v1\.EchoRequest, got EchoReply"):
        echo_stub().unary(EchoReply())
    with pytest.raises(TypeError, match="got dict"):
        echo_stub().client_stream([{"text": "a"}])


@pytest.mark.parametrize(
    ("codec", "sent", "code", "message"),
    [
        ("json", {"type_url": "example.test/unknown.Type"}, 13, "unknown.Type"),
        ("json", {"type_url": "example.test/google.protobuf.StringValue", "value": b"\xff"}, 13, "StringValue"),
        ("proto", {"type_url": "example.test/unknown.Type"}, 12, "made.Made"),
    ],
)
def test_a_request_that_cannot_be_written_ends_with_a_status(
    codec: str, sent: dict[str, Any], code: int, message: str
) -> None:
    service = service_of("Take", input_type="google.protobuf.Any")
    message_class: Any = GetMessageClass(service.methods[0].input_type)
    with assert_rpc_error(code, match=message):
        channel_for(echo_app(), codec=codec).stub(service).take(message_class(**sent))


def test_a_closed_channel_refuses_calls() -> None:
    with channel_for(echo_app()) as channel:
        stub = channel.stub(ECHO)
    with pytest.raises(ValueError, match="is closed"):
        stub.unary(EchoRequest())


# Stubs


def service_of(*methods: str, input_type: str = "google.protobuf.StringValue") -> ServiceDescriptor:
    """Make a service with these methods."""
    file = FileDescriptorProto(name="made.proto", package="made", syntax="proto3")
    file.dependency[:] = ["google/protobuf/wrappers.proto", "google/protobuf/any.proto"]
    made = file.service.add(name="Made")
    for method in methods:
        made.method.add(name=method, input_type=f".{input_type}", output_type=".google.protobuf.StringValue")
    pool = DescriptorPool()
    for dependency in (wrappers_pb2, any_pb2):
        pool.AddSerializedFile(dependency.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("made.Made")


def test_methods_of_one_python_name_are_there_under_their_own_names() -> None:
    stub = Channel("http://example.test").stub(service_of("GetURL", "GetUrl", "GetUri"))
    assert [repr(method) for method in (stub.GetURL, stub.GetUrl, stub.get_uri)] == [
        f"<UnaryMethod made.Made.{name}>" for name in ("GetURL", "GetUrl", "GetUri")
    ]
    with pytest.raises(AttributeError, match=r"get_url is GetURL or GetUrl; call them by these names"):
        stub.get_url(StringValue())
    assert hasattr(Channel("http://example.test").stub(service_of("get_url", "GetURL")), "get_url")


@pytest.mark.parametrize(("name", "python_name"), [("Import", "import_"), ("None", "none"), ("Match", "match")])
def test_a_method_that_python_cannot_name_has_an_underscore(name: str, python_name: str) -> None:
    assert list(vars(Channel("http://example.test").stub(service_of(name)))) == [python_name]


def test_a_misspelt_method_gets_a_hint() -> None:
    with pytest.raises(AttributeError, match=r"no method 'unari'; did you mean 'unary'\?"):
        echo_stub().unari(EchoRequest())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GetRepository", "get_repository"),
        ("Bidi", "bidi"),
        ("GetHTTPStatus", "get_http_status"),
        ("V2Read", "v2_read"),
    ],
)
def test_methods_have_python_names(name: str, expected: str) -> None:
    assert snake_case(name) == expected
