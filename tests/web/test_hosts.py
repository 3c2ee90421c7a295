"""RPCs at one host or subdomain of an app: live there in every way, and nowhere else."""

from __future__ import annotations

import http.client
from typing import Any

import pytest
from flask import Flask, abort, request
from flask.testing import FlaskClient
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_grpcweb_scm import ConfigError, GrpcWebScm
from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.testing import channel_for
from flask_grpcweb_scm.web.flask_internals import current_context, is_plain_flask
from flask_grpcweb_scm.web.late_contexts import LateRequestContext
from tests.apps import ECHO, echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of, call
from tests.servers import serving

HI = EchoRequest(text="hi", count=2)
OURS = "api.example.test"
ELSEWHERE = ["www.example.test", "example.test", "api.www.example.test"]
PAGE = "https://page.example"
BY_HOST: dict[str, Any] = {"GRPC_HOST": "API.example.test"}
BY_SUBDOMAIN: dict[str, Any] = {"GRPC_SUBDOMAIN": "Api", "SERVER_NAME": "example.test"}
KINDS = pytest.mark.parametrize("kind", [BY_HOST, BY_SUBDOMAIN], ids=["host", "subdomain"])
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-grpc-web",
}
REQUESTS: dict[str, dict[str, Any]] = {
    "unary": {"path": ECHO + "Unary", "data": body_of(HI), "content_type": PROTO},
    "stream": {"path": ECHO + "ServerStream", "data": body_of(HI), "content_type": PROTO},
    "unknown method": {"path": ECHO + "Unari", "data": body_of(HI), "content_type": PROTO},
    "refused": {"path": ECHO + "Unary", "data": b"{}", "content_type": "application/json"},
    "refused verb": {"path": ECHO + "Unary", "method": "GET"},
    "OPTIONS": {"path": ECHO + "Unary", "method": "OPTIONS"},
    "preflight": {"path": ECHO + "Unary", "method": "OPTIONS", "headers": PREFLIGHT},
    "preflight of an unknown method": {"path": ECHO + "Unari", "method": "OPTIONS", "headers": PREFLIGHT},
    "failing hook": {
        "path": ECHO + "Unary",
        "data": body_of(HI),
        "content_type": PROTO,
        "headers": {"x-fail": "1"},
    },
    "page": {"path": "/page", "method": "GET"},
}


def way(rpc_request: EchoRequest, context: object) -> EchoReply:
    return EchoReply(text="lane" if isinstance(current_context(), LateRequestContext) else "Flask")


def bare_app(config: dict[str, Any]) -> Flask:
    """A host app that matches hosts or subdomains, without RPCs."""
    matching = "host_matching" if "GRPC_HOST" in config else "subdomain_matching"
    app = Flask(__name__, static_folder=None, **{matching: True})
    app.config.update({"GRPC_SCM": False, "GRPC_REQUIRE_AUTH": False, **config})
    where = {"host": "www.example.test"} if app.url_map.host_matching else {"subdomain": "www"}
    app.add_url_rule("/page", view_func=lambda: "a page", **where)
    app.register_error_handler(404, lambda error: ("the app's own 404", 404))
    return app


def hosted_app(config: dict[str, Any]) -> Flask:
    app = bare_app(config)
    GrpcWebScm(app, services=[echo_service(Unary=way)])
    return app


def fail_when_asked() -> None:
    if "x-fail" in request.headers:
        raise LookupError("of a hook")


def sent(client: FlaskClient, host: str, name: str) -> tuple[int, list[tuple[str, str]], bytes]:
    response = client.open(base_url=f"http://{host}", **{"method": "POST", **REQUESTS[name]})
    return response.status_code, sorted(response.headers), response.data


@KINDS
def test_calls_are_served_there_by_both_lanes(kind: dict[str, Any]) -> None:
    client = hosted_app(kind).test_client(use_cookies=False)
    ways = [call(client, ECHO + "Unary", HI, base_url=f"http://{OURS}").only(EchoReply).text for _ in range(3)]
    assert ways == (["Flask", "lane", "lane"] if is_plain_flask(Flask("a")) else ["Flask"] * 3)
    for _ in range(2):
        answer = call(client, ECHO + "ServerStream", HI, base_url=f"http://{OURS}")
        assert [reply.number for reply in answer.messages(EchoReply)] == [0, 1]
        assert answer.code == 0


@KINDS
@pytest.mark.parametrize("prefix", ["", "/rpc"])
def test_refusals_and_preflights_are_ours_there(kind: dict[str, Any], prefix: str) -> None:
    config = {**kind, "GRPC_URL_PREFIX": prefix, "GRPC_CORS_ORIGINS": PAGE}
    client = hosted_app(config).test_client(use_cookies=False)
    here = {"base_url": f"http://{OURS}"}
    unknown = call(client, prefix + ECHO + "Unari", HI, **here)
    assert (unknown.code, unknown.message) == (
        12,
        f"no method {ECHO}Unari is served here; did you mean '{ECHO}Unary'?",
    )
    assert client.post(prefix + ECHO + "Unary", data=b"{}", content_type="text/plain", **here).status_code == 415
    assert client.get(prefix + ECHO + "Unary", **here).status_code == 405
    for name in ("Unary", "Unari"):
        response = client.options(prefix + ECHO + name, headers=PREFLIGHT, **here)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (204, PAGE)
    assert client.get("/page", **here).text == "the app's own 404"


@KINDS
@pytest.mark.parametrize("cors", [{}, {"GRPC_CORS_ORIGINS": PAGE}], ids=["one origin", "pages"])
@pytest.mark.parametrize("host", ELSEWHERE)
def test_elsewhere_the_app_responds_as_without_rpcs(kind: dict[str, Any], cors: dict[str, Any], host: str) -> None:
    bare, hosted = bare_app(kind), hosted_app({**kind, **cors})
    for app in (bare, hosted):
        app.before_request(fail_when_asked)
    client = hosted.test_client(use_cookies=False)
    for name in REQUESTS:
        sent(client, OURS, name)
    for name in [*REQUESTS, *REQUESTS]:
        assert sent(client, host, name) == sent(bare.test_client(use_cookies=False), host, name)


@KINDS
@pytest.mark.filterwarnings("ignore:Current server name")
@pytest.mark.parametrize("host", [*ELSEWHERE, "", "api.example.test:8000"])
def test_the_lane_does_not_serve_elsewhere_what_it_has_learned_there(kind: dict[str, Any], host: str) -> None:
    client = hosted_app(kind).test_client(use_cookies=False)
    for _ in range(2):
        assert call(client, ECHO + "Unary", HI, base_url=f"http://{OURS}").code == 0
    response = client.post(**REQUESTS["unary"], headers={"host": host})
    assert (response.status_code, response.text) == (404, "the app's own 404")


def test_the_port_belongs_to_the_host_unless_it_is_that_of_the_scheme() -> None:
    def statuses(configured: str, url: str) -> list[int]:
        client = hosted_app({"GRPC_HOST": configured}).test_client(use_cookies=False)
        host = url.partition("://")[2]
        return [client.post(**REQUESTS["unary"], base_url=url, headers={"host": host}).status_code for _ in range(3)]

    assert statuses("api.example.test:8000", "http://api.example.test:8000") == [200] * 3
    assert statuses("api.example.test:8000", "http://api.example.test") == [404] * 3
    assert statuses("api.example.test:443", "https://api.example.test") == [200] * 3
    assert statuses(OURS, "http://api.example.test:80") == [200] * 3
    assert statuses(OURS, "https://api.example.test:443") == [200] * 3
    assert statuses(OURS, "https://api.example.test:80") == [404] * 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_lane_does_not_take_one_scheme_for_the_other(scheme: str) -> None:
    client = hosted_app(BY_HOST).test_client(use_cookies=False)
    port = {"http": 80, "https": 443}
    headers = {"host": f"{OURS}:{port[scheme]}"}
    other = "https" if scheme == "http" else "http"
    for _ in range(2):
        assert client.post(**REQUESTS["unary"], base_url=f"{scheme}://x", headers=headers).status_code == 200
    assert client.post(**REQUESTS["unary"], base_url=f"{other}://x", headers=headers).status_code == 404


@pytest.mark.filterwarnings("ignore:Current server name")
def test_nor_where_only_the_app_matches_hosts() -> None:
    app = Flask(__name__, static_folder=None, subdomain_matching=True)
    app.config.update(SERVER_NAME="example.test", GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_CORS_ORIGINS=PAGE)
    GrpcWebScm(app, services=[echo_service()])
    client = app.test_client(use_cookies=False)
    headers = {"host": "example.test:80", "origin": PAGE, "access-control-request-method": "POST"}
    for _ in range(2):
        assert client.post(**REQUESTS["unary"], base_url="http://x", headers=headers).status_code == 200
        assert client.options(ECHO + "Unary", base_url="http://x", headers=headers).status_code == 204
    assert client.post(**REQUESTS["unary"], base_url="https://x", headers=headers).status_code == 404
    assert client.options(ECHO + "Unary", base_url="https://x", headers=headers).status_code == 404


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
def test_hooks_are_translated_whatever_the_port_of_the_server(port: str) -> None:
    app = hosted_app({**BY_SUBDOMAIN, "SERVER_NAME": f"example.test{port}"})
    app.before_request(lambda: abort(401))
    for _ in range(2):
        answer = call(app.test_client(), ECHO + "Unary", HI, base_url=f"https://{OURS}{port}")
        assert answer.code == 16


@KINDS
@pytest.mark.parametrize("inside", [True, False])
def test_behind_a_proxy_the_host_is_the_one_that_it_names(kind: dict[str, Any], inside: bool) -> None:
    app = bare_app(kind)
    if inside:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1)  # type: ignore[method-assign]
    GrpcWebScm(app, services=[echo_service(Unary=way)])
    if not inside:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1)  # type: ignore[method-assign]
    app.before_request(lambda: abort(401) if "x-stranger" in request.headers else None)
    client = app.test_client(use_cookies=False)
    there = {"x-forwarded-host": OURS}
    elsewhere = {"x-forwarded-host": "www.example.test"}
    for method in ("Unary", "ServerStream") * 2:
        assert call(client, ECHO + method, HI, headers=there).code == 0
        assert call(client, ECHO + method, HI, headers={**there, "x-stranger": "1"}).code == 16
        answer = call(client, ECHO + method, HI, base_url=f"http://{OURS}", headers=elsewhere)
        assert (answer.http_status, answer.body) == (404, b"the app's own 404")


@KINDS
@pytest.mark.parametrize("port", ["", ":80", ":443", ":8443"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_kit_the_commands_and_the_advice_know_the_host(kind: dict[str, Any], port: str, scheme: str) -> None:
    ports = {key: f"{host}{port}" for key, host in kind.items() if key in {"GRPC_HOST", "SERVER_NAME"}}
    app = hosted_app(
        {
            **kind,
            **ports,
            "PREFERRED_URL_SCHEME": scheme,
            "GRPC_CORS_ORIGINS": PAGE,
            "GRPC_MAX_TIMEOUT": 60,
        }
    )
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.endpoint))
    stub = channel_for(app).stub(DESCRIPTOR.services_by_name["Echo"])
    assert stub.unary(HI).text == "Flask"
    result = app.test_cli_runner().invoke(args=["grpc", "call", ECHO[1:] + "Unary", "{}", "--stream"])
    assert (result.exit_code, result.output) == (0, f'{{"text": "{"lane" if is_plain_flask(app) else "Flask"}"}}\n')
    assert not [text for text in findings(app, app.extensions["grpcweb_scm"].settings, {}) if "preflight" in text]
    assert seen == ["grpcweb_scm.tests_echo_v1_Echo/Unary"] * 3


@KINDS
def test_over_http(kind: dict[str, Any]) -> None:
    with serving(hosted_app(kind)) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        for host, expected in [(OURS, True), ("www.example.test", False)] * 3:
            headers = {"host": host, "content-type": PROTO}
            for method in ("Unary", "ServerStream"):
                connection.request("POST", ECHO + method, body_of(HI), headers)
                response = connection.getresponse()
                body = response.read()
                assert (response.status == 200 and b"grpc-status: 0" in body) is expected
                assert (response.status == 404 and body == b"the app's own 404") is not expected
        connection.close()


@pytest.mark.parametrize(
    ("matching", "config", "message"),
    [
        ({}, BY_HOST, r"GRPC_HOST 'api.example.test' needs .*host_matching=True"),
        ({"subdomain_matching": True}, BY_HOST, r"GRPC_HOST 'api.example.test' needs .*host_matching=True"),
        ({}, BY_SUBDOMAIN, r"GRPC_SUBDOMAIN 'api' needs .*subdomain_matching=True"),
        ({"subdomain_matching": True}, {"GRPC_SUBDOMAIN": "api"}, "GRPC_SUBDOMAIN 'api' needs .*SERVER_NAME"),
        ({"host_matching": True}, {**BY_SUBDOMAIN, **BY_HOST}, "GRPC_SUBDOMAIN 'api' needs .*without host_matching"),
        ({"host_matching": True}, {}, "GRPC_HOST is not set, but the app has host_matching=True"),
        ({"host_matching": True}, BY_SUBDOMAIN, "GRPC_HOST is not set, but the app has host_matching=True"),
    ],
)
def test_what_no_request_would_reach_is_refused_at_start(
    matching: dict[str, bool], config: dict[str, Any], message: str
) -> None:
    app = Flask(__name__, static_folder=None, **matching)  # type: ignore[arg-type]
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, **config)
    with pytest.raises(ConfigError, match=message):
        GrpcWebScm(app, services=[echo_service()])


def test_without_the_keys_rpcs_are_at_the_domain_itself() -> None:
    app = bare_app({"SERVER_NAME": "example.test"})
    GrpcWebScm(app, services=[echo_service()])
    for _ in range(2):
        assert call(app.test_client(), ECHO + "Unary", HI, base_url="http://example.test").code == 0
        assert call(app.test_client(), ECHO + "Unary", HI, base_url=f"http://{OURS}").http_status == 404
