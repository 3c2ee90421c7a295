"""Initialising apps."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import GrpcWebScm, Identity, RpcError, Service, ServiceDefinitionError, StatusCode
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import call

ALL_PUBLIC: list[dict[str, Any]] = [
    {"GRPC_REQUIRE_AUTH": True, "GRPC_PUBLIC_METHODS": [ECHO[1:] + "*"]},
    {
        "GRPC_REQUIRE_AUTH": True,
        "GRPC_PUBLIC_METHODS": [ECHO[1:] + method.name for method in DESCRIPTOR.services_by_name["Echo"].methods],
    },
]


def bare_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, **config)
    return app


def test_an_incomplete_service_fails_at_start() -> None:
    service = Service(DESCRIPTOR.services_by_name["Echo"])
    with pytest.raises(ServiceDefinitionError, match="no function serves Unary"):
        GrpcWebScm(services=[service]).init_app(bare_app(TESTING=True))


def test_a_service_given_twice_fails_at_start() -> None:
    with pytest.raises(ServiceDefinitionError, match="registered twice"):
        GrpcWebScm(services=[echo_service(), echo_service()]).init_app(bare_app(TESTING=True))


def test_a_second_extension_on_one_app_is_refused() -> None:
    app = echo_app()
    with pytest.raises(RuntimeError, match="has a GrpcWebScm already"):
        GrpcWebScm(app)


def test_one_extension_serves_several_apps_with_their_own_settings() -> None:
    extension = GrpcWebScm(services=[echo_service()])
    first = echo_app(extension=extension, GRPC_URL_PREFIX="/first")
    second = echo_app(extension=extension, GRPC_AUTH_TOKENS="t")
    assert call(first.test_client(), "/first" + ECHO + "Unary", EchoRequest()).code == 0
    assert call(second.test_client(), ECHO + "Unary", EchoRequest()).code == 16
    assert first.extensions["grpcweb_scm"] is not second.extensions["grpcweb_scm"]


def test_settings_are_read_once() -> None:
    app = echo_app()
    app.config["GRPC_AUTH_TOKENS"] = "t"
    assert call(app.test_client(), ECHO + "Unary", EchoRequest()).code == 0


def test_an_open_app_in_production_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="open to everybody"):
        GrpcWebScm(bare_app(), services=[echo_service()])


def test_warnings_name_the_line_of_the_app() -> None:
    for start in (GrpcWebScm, GrpcWebScm().init_app):
        with pytest.warns(UserWarning, match="GRPC_") as caught:
            start(bare_app(GRPC_MAX_TIMOUT=1))
        assert [warning.filename for warning in caught] == [__file__] * 2


@pytest.mark.parametrize("config", [{"TESTING": True}, {"DEBUG": True}, {"GRPC_AUTH_TOKENS": "t"}])
def test_no_warning_in_development_or_with_authentication(config: dict[str, Any]) -> None:
    GrpcWebScm(bare_app(**config), services=[echo_service()])


@pytest.mark.parametrize("config", [{"GRPC_REQUIRE_AUTH": False}, {"GRPC_REQUIRE_AUTH": "false"}, *ALL_PUBLIC])
def test_an_app_that_is_open_on_purpose_is_not_warned_of(config: dict[str, Any]) -> None:
    app = bare_app(**config)
    GrpcWebScm(app, services=[echo_service()])
    assert call(app.test_client(), ECHO + "Unary", EchoRequest()).code == 0


def by_header(context: Any) -> Identity:
    user = context.metadata.get_text("x-user")
    if user is None:
        raise RpcError(StatusCode.UNAUTHENTICATED, "who are you?")
    return Identity(user, methods=frozenset({ECHO[1:] + "Unary"}))


def test_an_authenticator_of_the_app_replaces_tokens() -> None:
    def whoami(request: EchoRequest, context: Any) -> EchoReply:
        return EchoReply(text=context.caller.name)

    extension = GrpcWebScm(services=[echo_service(Unary=whoami)], authenticate=by_header)
    client = echo_app(extension=extension, GRPC_REQUIRE_AUTH=True).test_client()
    assert call(client, ECHO + "Unary", EchoRequest()).message == "who are you?"
    assert call(client, ECHO + "Unary", EchoRequest(), headers={"x-user": "ann"}).only(EchoReply).text == "ann"
    assert call(client, ECHO + "ServerStream", EchoRequest(), headers={"x-user": "ann"}).code == 7


def test_public_methods_need_no_credentials() -> None:
    client = echo_app(GRPC_AUTH_TOKENS="t", GRPC_PUBLIC_METHODS=ECHO[1:] + "Unary").test_client()
    assert call(client, ECHO + "Unary", EchoRequest()).code == 0
    assert call(client, ECHO + "ServerStream", EchoRequest()).code == 16


def test_cors_without_flask_cors_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from flask_grpcweb_scm import ConfigError

    monkeypatch.setitem(sys.modules, "flask_cors", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask_grpcweb_scm\[cors\]'"):
        echo_app(GRPC_CORS_ORIGINS="https://a.example")
