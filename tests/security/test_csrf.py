"""Pages of other sites, whose requests come with the cookies of the browser's user."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, session

from flask_grpcweb_scm import ConfigError, GrpcWebScm, Identity, RpcError, StatusCode
from flask_grpcweb_scm.configuration import read_settings
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import PROTO, Answer, body_of, call, read

ALLOWED = "https://app.example"


def by_cookie(context: Any) -> Identity:
    if "user" not in session:
        raise RpcError(StatusCode.UNAUTHENTICATED, "log in first")
    return Identity(session["user"])


def cookie_app(**config: Any) -> Flask:
    extension = GrpcWebScm(services=[echo_service()], authenticate=by_cookie)
    settings = {"GRPC_CORS_ORIGINS": [ALLOWED], "GRPC_CORS_CREDENTIALS": True, **config}
    app = echo_app(extension=extension, SECRET_KEY="k" * 32, **settings)

    @app.post("/login")
    def login() -> str:
        session["user"] = "ann"
        return "welcome"

    return app


def ask(origin: str | None, *, host: str = "api.example", path: str = ECHO + "Unary", **config: Any) -> Answer:
    client = cookie_app(**config).test_client()
    client.post("/login", base_url=f"https://{host}")
    headers = {} if origin is None else {"origin": origin}
    return call(client, path, EchoRequest(), headers=headers, base_url=f"https://{host}")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (ALLOWED, "api.example"),
        ("HTTPS://APP.example", "api.example"),
        ("https://api.example", "api.example"),
        ("http://api.example", "api.example"),  # a proxy may have ended TLS
        ("https://api.example:8443", "api.example:8443"),
        (None, "api.example"),  # no browser
    ],
)
def test_allowed_pages_and_ones_own_may_call(origin: str | None, host: str) -> None:
    assert ask(origin, host=host).code == 0


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "https://evil-app.example",
        "https://app.example/",
        "https://api.example:8443",
        "https://api.example.evil.example",
        "https://user@api.example",
        "ftp://api.example",
        f"{ALLOWED}, https://evil.example",
        f"{ALLOWED} https://evil.example",
        "api.example",
        "null",
        "*",
        "",
        "https://",
    ],
)
@pytest.mark.parametrize("method", ["Unary", "ServerStream", "Missspelt"])
def test_pages_of_other_origins_may_not(origin: str, method: str) -> None:
    answer = ask(origin, path=ECHO + method)
    assert (answer.http_status, answer.code, answer.message) == (200, 7, "pages of this origin may not call")
    assert answer.headers.get("access-control-allow-origin") in {None, ALLOWED}


def test_it_is_decided_before_anything_of_the_call() -> None:
    ran = []
    app = cookie_app(Unary=lambda request, context: ran.append(1))
    response = app.test_client().post(
        ECHO + "Unary", data=b"torn", headers={"content-type": PROTO, "origin": "https://evil.example"}
    )
    assert read(200, response.headers, response.data).code == 7
    assert ran == []


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        f"text/plain; a={PROTO}",
        "",
    ],
)
@pytest.mark.parametrize("origin", [None, ALLOWED, "https://evil.example"])
def test_a_content_type_that_needs_no_preflight_is_refused(content_type: str, origin: str | None) -> None:
    """Fetch, "CORS-safelisted request-header": a browser sends these across origins without asking first."""
    client = cookie_app().test_client()
    client.post("/login")
    headers = {} if origin is None else {"origin": origin}
    response = client.post(ECHO + "Unary", data=body_of(EchoRequest()), content_type=content_type, headers=headers)
    assert (response.status_code, response.headers["grpc-status"]) == (415, "12")


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_preflight_of_another_origin_gets_no_permission(origin: str) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "x-grpc-web"}
    response = cookie_app().test_client().options(ECHO + "Unary", headers=asked)
    assert not [name for name, _ in response.headers if name.lower().startswith("access-control-allow-")]


def test_credentials_without_origins_are_for_ones_own_pages() -> None:
    assert ask("https://api.example", GRPC_CORS_ORIGINS=[]).code == 0
    assert ask("https://evil.example", GRPC_CORS_ORIGINS=[]).code == 7


def test_without_credentials_the_browser_decides() -> None:
    assert ask("https://evil.example", GRPC_CORS_CREDENTIALS=False).code == 0


@pytest.mark.parametrize(
    "origin",
    [
        "https://*.example",
        "https://.*\\.example",
        "https://(a|b).example",
        "https://app.example/",
        "https://app.example/path",
        "app.example",
        "null",
        "https://",
        "https://user@app.example",
        "https://app.example https://b.example",
    ],
)
def test_an_origin_that_is_a_pattern_or_none_is_refused_at_start(origin: str) -> None:
    """Flask-CORS would take ``https://*.example`` as a regular expression that ``https://evilexample`` matches."""
    with pytest.raises(ConfigError, match=r"GRPC_CORS_ORIGINS: .* without a path or a pattern"):
        read_settings({"GRPC_CORS_ORIGINS": [origin]})


@pytest.mark.parametrize("origin", ["*", "https://app.example", "http://localhost:3000", "capacitor://localhost"])
def test_an_origin_is_kept(origin: str) -> None:
    assert read_settings({"GRPC_CORS_ORIGINS": origin}).cors_origins == (origin,)
