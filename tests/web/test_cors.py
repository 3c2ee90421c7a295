"""Calls from pages of other origins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask_cors import CORS

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, frame
from tests.lanes import lane  # noqa: F401  # a fixture

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
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, POST"
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
        ("Unary", frame(b""), {"content-type": "text/plain"}, 415),
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


# Flask-CORS around the whole app, and no GRPC_CORS_ORIGINS


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("options", [{}, {"origins": [ORIGIN]}, {"expose_headers": ["X-Host"]}])
def test_cors_around_the_app_alone_lets_pages_call(when: str, options: dict[str, Any]) -> None:
    app = echo_app(ServerStream=with_metadata, prepare=lambda app: when == "before" and CORS(app, **options))
    if when == "after":
        CORS(app, **options)
    app.add_url_rule("/page", "page", str, methods=["POST"])
    client = app.test_client()
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web",
    }
    ours, page = (client.options(path, headers=asked) for path in (ECHO + "Unary", "/page"))
    assert ours.status_code == page.status_code == 200
    permissions = [
        {name: value for name, value in response.headers if name.startswith("Access-Control-") or name == "Vary"}
        for response in (ours, page)
    ]
    assert permissions[0] == permissions[1]
    for method, expected in {"Unary": set(), "ServerStream": {"x-mine"}, "Missing": set(), "Misspelt": set()}.items():
        headers = {"origin": ORIGIN, "x-grpc-web": "1"}
        response = client.post(ECHO + method, data=frame(b""), content_type=PROTO, headers=headers)
        assert response.headers["access-control-allow-origin"] in {"*", ORIGIN}
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"grpc-status", "grpc-message", "grpc-status-details-bin", *expected}.issubset(exposed)
        assert ("x-host" in exposed) == ("expose_headers" in options)


def test_cors_around_the_app_decides_who_may_call() -> None:
    app = echo_app(prepare=lambda app: CORS(app, origins=[ORIGIN]))
    response = app.test_client().options(
        ECHO + "Unary", headers={"origin": "https://other.example", "access-control-request-method": "POST"}
    )
    assert "access-control-allow-origin" not in response.headers


def with_metadata(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    context.initial_metadata.add("x-mine", "1")
    yield EchoReply()
