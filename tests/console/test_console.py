"""The console is there when it is wanted, for those who may see it, at whatever path; otherwise no byte of it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask, abort, request

from flask_grpcweb_scm import ConfigError, GrpcWebScm, Service, ServiceDefinitionError
from flask_grpcweb_scm.console import FILES, HEADERS
from flask_grpcweb_scm.settings import Settings
from tests import echo_pb2
from tests.apps import echo_app, echo_service

PATHS = ["", "/", "/schema.json", *(f"/{name}" for name in FILES)]
TOKEN = "a token"


def in_debug_mode(app: Flask) -> None:
    app.debug = True


# Where it is


@pytest.mark.parametrize(
    ("debug", "value", "path"),
    [
        *((False, value, None) for value in (None, False, "false", "off")),
        *((True, value, None) for value in (False, "false", "0")),
        *((False, value, "/_grpc") for value in (True, "true", "1", "/_grpc")),
        (False, "/tools/grpc", "/tools/grpc"),
        (True, None, "/_grpc"),
        (True, "/console", "/console"),
    ],
)
def test_it_is_there_in_debug_mode_or_by_its_key(debug: bool, value: Any, path: str | None) -> None:
    app = echo_app(prepare=in_debug_mode if debug else None, GRPC_CONSOLE=value)
    client = app.test_client()
    places = {"/_grpc", "/console", "/tools/grpc"}
    assert {place for place in places if client.get(f"{place}/").status_code == 200} == ({path} if path else set())
    assert any("console" in rule.endpoint for rule in app.url_map.iter_rules()) == (path is not None)


@pytest.mark.parametrize("value", ["console", "/console/", "/a b", "/", 7])
def test_a_path_that_is_none_is_an_error(value: object) -> None:
    with pytest.raises(ConfigError, match="GRPC_CONSOLE"):
        echo_app(GRPC_CONSOLE=value)


# A value of each key that is not its default, as far as it needs no other program.
OTHER_KEYS: dict[str, Any] = {
    "GRPC_SCM": False,
    "GRPC_PROTOCOLS": "connect",
    "GRPC_URL_PREFIX": "/_grpc",
    "GRPC_AUTH_TOKENS": TOKEN,
    "GRPC_TOKEN_SECRETS": "a secret",
    "GRPC_HMAC_SECRETS": "a secret",
    "GRPC_REVOKED_TOKENS": "0123456789abcdef",
    "GRPC_PUBLIC_METHODS": "tests.echo.v1.Echo/*",
    "GRPC_CORS_ORIGINS": "https://app.example",
    "GRPC_RATE_LIMITS": "9/minute",
    "GRPC_METRICS_PATH": "/metrics",
    "GRPC_HEALTH": True,
    "GRPC_HEALTH_PATH": "/healthz",
    "GRPC_DRAIN_FILE": "/nowhere/drain",
    "GRPC_REFLECTION": True,
    "GRPC_DESCRIPTORS_PATH": "/services.binpb",
    "GRPC_DESCRIPTOR_SETS": str(Path(__file__).parent.parent / "echo.binpb"),
    "GRPC_SCM_CREDENTIALS": {"bot": "token"},
    "GRPC_SCM_ALLOWED_HOSTS": "tracker.example",
    "GRPC_PAGE_TOKEN_SECRETS": "a secret",
    "GRPC_IGNORED_KEYS": "GRPC_CONSOLES",
}
NEED_MORE = {"GRPC_HOST", "GRPC_SUBDOMAIN"}


def other_value(key: str, default: Any) -> Any:
    if key in OTHER_KEYS:
        return OTHER_KEYS[key]
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, int | float) else default


@pytest.mark.parametrize(
    "field",
    [each for each in dataclasses.fields(Settings) if each.name not in {"console", "host", "subdomain"}],
    ids=lambda field: field.name,
)
def test_no_byte_of_it_is_served_whatever_another_key_says(field: dataclasses.Field[Any]) -> None:
    key = f"GRPC_{field.name.upper()}"
    default = None if field.default is dataclasses.MISSING else field.default
    config: dict[str, Any] = {} if default is None and key not in OTHER_KEYS else {key: other_value(key, default)}
    if key in {"GRPC_REQUIRE_AUTH", "GRPC_REVOKED_TOKENS", "GRPC_HMAC_REQUIRE_TIMESTAMP"}:
        config |= {"GRPC_HMAC_SECRETS": "a secret"}
    client = echo_app(**config).test_client()
    for path in PATHS:
        with client.get(f"/_grpc{path}", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status_code == 404, path
            assert b"console" not in response.data


@pytest.mark.needs("time")
def test_it_is_not_even_imported() -> None:
    from tests.test_package import modules_after

    code = (
        "from flask import Flask\nfrom flask_grpcweb_scm import GrpcWebScm\n"
        "app = Flask('app')\napp.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False)\nGrpcWebScm(app)\n"
    )
    assert not {name for name in modules_after(code) if name.startswith("flask_grpcweb_scm.console")}


@pytest.mark.parametrize("script_name", ["", "/app", "/deep/down"])
@pytest.mark.parametrize("url_prefix", ["", "/rpc"])
@pytest.mark.parametrize("path", ["/_grpc", "/tools/grpc/console"])
def test_it_finds_the_calls_below_any_prefix(script_name: str, url_prefix: str, path: str) -> None:
    app = echo_app(GRPC_CONSOLE=path, GRPC_URL_PREFIX=url_prefix)
    client = app.test_client()
    environ = {"SCRIPT_NAME": script_name}
    redirect = client.get(path, environ_overrides=environ)
    assert redirect.status_code == 308
    # As a browser reads it, of whose address the app may not know the beginning.
    page = urljoin(f"http://host/unknown{script_name}{path}", redirect.headers["location"])
    assert page == f"http://host/unknown{script_name}{path}/"
    schema = client.get(f"{path}/schema.json", environ_overrides=environ).get_json()
    method = urljoin(page, f"{schema['base']}tests.echo.v1.Echo/Unary")
    assert method == f"http://host/unknown{script_name}{url_prefix}/tests.echo.v1.Echo/Unary"


@pytest.mark.parametrize("is_before", [False, True])
@pytest.mark.parametrize("suffix", ["", "/", "/console.js", "/schema.json"])
def test_a_page_of_the_app_comes_first(suffix: str, is_before: bool) -> None:
    def add(app: Flask) -> None:
        app.add_url_rule(f"/_grpc{suffix}", "mine", lambda: "mine")

    app = echo_app(GRPC_CONSOLE=True, prepare=add if is_before else None)
    if not is_before:
        add(app)
    assert app.test_client().get(f"/_grpc{suffix}").text == "mine"


def test_it_is_at_the_host_of_the_calls() -> None:
    app = Flask(__name__, static_folder=None, host_matching=True)
    app.config.update(TESTING=True, GRPC_SCM=False, GRPC_HOST="rpc.example", GRPC_CONSOLE=True)
    GrpcWebScm(app, services=[echo_service()])
    found = {
        host: app.test_client().get("/_grpc/", base_url=f"http://{host}").status_code
        for host in ("rpc.example", "example")
    }
    assert found == {"rpc.example": 200, "example": 404}


@pytest.mark.parametrize("strict", [False, True])
def test_slashes_lead_to_no_circle(strict: bool) -> None:
    def prepare(app: Flask) -> None:
        app.url_map.strict_slashes = strict

    client = echo_app(GRPC_CONSOLE=True, prepare=prepare).test_client()
    assert client.get("/_grpc").headers["location"] == "_grpc/"
    assert client.get("/_grpc/").status_code == 200
    assert client.get("/_grpc/nothing.js").status_code == 404
    assert client.post("/_grpc/").status_code == 405


# Who sees what


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("wrong", 401), ("scoped", 403), ("allowed", 200), (TOKEN, 200)]
)
def test_what_it_shows_is_for_those_who_may_call_reflection(token: str | None, status: int) -> None:
    tokens = {
        TOKEN: {},
        "scoped": {"methods": ["tests.echo.v1.Echo/*"]},
        "allowed": {"methods": ["grpc.reflection.v1.ServerReflection/*"]},
    }
    client = echo_app(GRPC_CONSOLE=True, GRPC_REFLECTION=True, GRPC_AUTH_TOKENS=tokens).test_client()
    response = client.get("/_grpc/schema.json", headers={"Authorization": f"Bearer {token}"} if token else {})
    assert response.status_code == status
    assert (b"Echo" in response.data.replace(b"tests.echo.v1.Echo may", b"")) == (status == 200)
    assert response.headers["cache-control"] == "no-store"
    for path in PATHS:
        if path != "/schema.json":
            assert b"Echo" not in client.get(f"/_grpc{path}").data


def test_a_hook_of_the_app_guards_it() -> None:
    app = echo_app(GRPC_CONSOLE=True)
    app.before_request(lambda: abort(403) if "user" not in request.cookies else None)
    client = app.test_client()
    assert {client.get(f"/_grpc{path}").status_code for path in PATHS} == {403}
    client.set_cookie("user", "ann")
    assert client.get("/_grpc/schema.json").status_code == 200


# How it is served


def test_every_file_says_what_browsers_may_do_with_it() -> None:
    client = echo_app(GRPC_CONSOLE=True).test_client()
    types = set()
    for path in PATHS[1:]:
        response = client.get(f"/_grpc{path}")
        if path == "/index.html":
            assert response.status_code == 404
            continue
        assert response.status_code == 200, path
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        types.add(response.content_type)
    assert types == {
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
        "text/css; charset=utf-8",
        "application/json",
    }
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_files_are_asked_for_again_and_sent_once() -> None:
    client = echo_app(GRPC_CONSOLE=True).test_client()
    response = client.get("/_grpc/console.js")
    assert response.headers["cache-control"] == "no-cache"
    again = client.get("/_grpc/console.js", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["content-security-policy"]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".html", ".js", ".css"))])
def test_a_file_makes_no_markup_of_texts_and_loads_nothing_from_elsewhere(name: str) -> None:
    text = FILES[name].read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style="):
        assert word not in text, word
    assert "@import" not in text
    assert not any(each in text for each in ("https://", "//cdn", 'src="http', " url("))
    if name.endswith(".html"):
        assert "<script>" not in text
        assert " on" + "click" not in text


def test_the_wheel_has_the_files() -> None:
    setup = (Path(__file__).parent.parent.parent / "setup.cfg").read_text()
    assert "flask_grpcweb_scm.console = static/*\n" in setup
    assert len(FILES) > 8


@pytest.mark.parametrize("scm", [True, False])
def test_the_page_of_a_service_is_named_where_that_is_served(scm: bool, tmp_path: Path) -> None:
    app = Flask(__name__)
    app.config.update(GRPC_SCM=scm, GRPC_CONSOLE=True, SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/scm.db")
    app.testing = True
    GrpcWebScm(app)
    pages = app.test_client().get("/_grpc/schema.json").json["pages"]
    assert pages == ([{"href": "suspects.html", "text": "Suspects"}] if scm else [])


# Examples


def test_examples_are_checked_where_they_are_given() -> None:
    service = Service(echo_pb2.DESCRIPTOR.services_by_name["Echo"])
    with pytest.raises(ServiceDefinitionError, match="no method 'Unari'; did you mean 'Unary'"):
        service.example("Unari", echo_pb2.EchoRequest())
    with pytest.raises(
        ServiceDefinitionError, match=r"Echo/Unary takes tests\.echo\.v1\.EchoRequest, and its example is"
    ):
        service.example("Unary", echo_pb2.EchoReply())
    for requests in ((), (echo_pb2.EchoRequest(), echo_pb2.EchoRequest())):
        with pytest.raises(ServiceDefinitionError, match=f"takes one request, and its example has {len(requests)}"):
            service.example("Unary", *requests)
