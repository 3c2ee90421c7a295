"""Calls from pages of other origins."""

from __future__ import annotations

from typing import Any

import pytest

from flask_grpcweb_scm import RpcError, StatusCode
from tests.apps import ECHO, echo_app, lane  # noqa: F401  # a fixture
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, frame

ORIGIN = "https://app.example"


def function(request: EchoRequest, context: Any) -> EchoReply:
    context.initial_metadata.add("x-custom", "1")
    if request.text == "fail":
        raise RpcError(StatusCode.NOT_FOUND, "nothing")
    return EchoReply()


def cors_app(**config: Any) -> Any:
    return echo_app(**{"Unary": function, "GRPC_CORS_ORIGINS": [ORIGIN], **config}).test_client()


@pytest.mark.parametrize("path", [ECHO + "Unary", ECHO + "Misspelt"])
def test_a_preflight_is_answered(path: str) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web,x-custom",
    }
    response = cors_app(GRPC_CORS_MAX_AGE=60).options(path, headers=asked)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-methods"] == "POST"
    allowed = response.headers["access-control-allow-headers"].lower().split(", ")
    assert set(allowed) == {"content-type", "x-grpc-web", "x-custom"}
    assert response.headers["access-control-max-age"] == "60"
    assert response.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("path", "body", "headers", "http_status"),
    [
        ("Unary", frame(b""), {}, 200),
        ("Unary", frame(EchoRequest(text="fail").SerializeToString()), {}, 200),
        ("Unary", b"torn", {}, 200),
        ("Unary", frame(b""), {"grpc-encoding": "unknown"}, 200),
        ("Misspelt", frame(b""), {}, 200),
        ("ServerStream", frame(b""), {}, 200),
        ("Unary", frame(b""), {"content-type": "application/json"}, 415),
        ("Unary", frame(b""), {"refuse": "yes"}, 200),
    ],
)
def test_every_answer_is_readable(path: str, body: bytes, headers: dict[str, str], http_status: int) -> None:
    client = cors_app()

    @client.application.before_request
    def refuse() -> Any:
        from flask import request

        return ("no", 403) if "refuse" in request.headers else None

    response = client.post(ECHO + path, data=body, headers={"content-type": PROTO, "origin": ORIGIN, **headers})
    assert response.status_code == http_status
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["vary"] == "Origin"
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert exposed >= {"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding"}
    custom = {name.lower() for name, _ in response.headers if name.lower().startswith(("grpc-", "x-custom"))}
    assert exposed >= custom
    response.close()


def test_another_verb_is_readable_too() -> None:
    response = cors_app().get(ECHO + "Unary", headers={"origin": ORIGIN})
    assert response.status_code == 405
    assert response.headers["access-control-allow-origin"] == ORIGIN


def test_another_origin_gets_no_permission() -> None:
    headers = {"content-type": PROTO, "origin": "https://evil.example"}
    response = cors_app().post(ECHO + "Unary", data=frame(b""), headers=headers)
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["vary"] == "Origin"


def test_credentials_are_allowed_when_configured() -> None:
    headers = {"content-type": PROTO, "origin": ORIGIN}
    response = cors_app(GRPC_CORS_CREDENTIALS=True).post(ECHO + "Unary", data=frame(b""), headers=headers)
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-allow-origin"] == ORIGIN


def test_routes_of_the_host_get_no_cors_headers() -> None:
    client = cors_app()
    client.application.add_url_rule("/page", "page", lambda: "page")
    assert "access-control-allow-origin" not in client.get("/page", headers={"origin": ORIGIN}).headers
