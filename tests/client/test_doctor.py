"""scm-grpc doctor: what it finds on servers that are sound, and on servers that are not."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, request

from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.testing import ScmFactory, recording
from tests.client.cli.support import run
from tests.client.scripted import Peer, http, serve
from tests.client.test_http_tls import CERTIFICATE
from tests.servers import free_port, in_a_thread, serving

TOKEN = "doctors-token"
ORIGIN = "https://app.example"
PROTOCOLS = ["gRPC-Web", "Connect"]
SUBJECTS = ["reachability", "methods", *PROTOCOLS, "authentication", "calls", "CORS", "clock", "versions"]

Change = Callable[[Flask], Any]


@pytest.fixture
def make_server(tmp_path: Path) -> Callable[..., Any]:
    """Make the context of a server that is sound, but for `change`, which gets the app before the extension."""

    def make(change: Change = lambda app: None, **config: Any) -> Any:
        app = Flask(__name__)
        app.testing = True
        sound = {"GRPC_AUTH_TOKENS": TOKEN, "GRPC_HMAC_SECRETS": "secret", "GRPC_CORS_ORIGINS": ORIGIN}
        app.config.update({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db", **sound, **config})

        @app.after_request
        def hide(response: Response) -> Response:
            response.headers.setdefault("server", "httpd")
            return response

        change(app)
        GrpcWebScm(app)
        if app.config.get("GRPC_SCM", True):
            ScmFactory(app)
        make.app = app  # type: ignore[attr-defined]  # for the tests to look at
        return serving(app)

    return make


def examine(url: str, *arguments: str, exit_code: int) -> dict[str, dict[str, str]]:
    """The findings by subject; of several about one subject the last."""
    result = run("doctor", "--url", url, "--timeout", "30", "-o", "json", *arguments)
    assert result.exit_code == exit_code, result.output
    return {finding["subject"]: finding for finding in json.loads(result.stdout)}


def levels(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    return {subject: finding["level"] for subject, finding in findings.items() if finding["level"] != "ok"}


@pytest.mark.parametrize("credential", [["--token", TOKEN], ["--hmac-secret", "secret"]])
@pytest.mark.parametrize("origin", [[], ["--origin", ORIGIN]])
@pytest.mark.parametrize("prefix", ["", "/rpc"])
@pytest.mark.parametrize("protocol", ["grpc-web", "connect"])
def test_a_sound_server(make_server: Any, credential: list[str], origin: list[str], prefix: str, protocol: str) -> None:
    with make_server(GRPC_URL_PREFIX=prefix) as url:
        findings = examine(url + prefix, *credential, *origin, "--protocol", protocol, exit_code=0)
    assert list(findings) == SUBJECTS
    assert {finding["level"] for finding in findings.values()} == {"ok"}


@pytest.mark.parametrize("served", ["grpc-web", "connect"])
@pytest.mark.parametrize("spoken", ["grpc-web", "connect"])
def test_a_server_of_one_protocol(make_server: Any, served: str, spoken: str) -> None:
    exit_code = 0 if served == spoken else 1
    arguments = ["--token", TOKEN, "--origin", ORIGIN, "--protocol", spoken]
    with make_server(GRPC_PROTOCOLS=[served]) as url:
        findings = examine(url, *arguments, exit_code=exit_code)
    absent = findings[{"grpc-web": "Connect", "connect": "gRPC-Web"}[served]]
    assert absent["text"].startswith("not served")
    assert absent["level"] == ("ok" if served == spoken else "fail")
    assert ("GRPC_PROTOCOLS" in absent["advice"]) == (served != spoken)
    if served == spoken:
        assert levels(findings) == {}


def test_it_changes_nothing(make_server: Any) -> None:
    with make_server() as url, recording(make_server.app) as recorder:
        examine(url, "--token", TOKEN, "--origin", ORIGIN, exit_code=0)
    assert {call.path.rpartition("/")[2] for call in recorder.calls} == {"ListRepositories"}


def test_people_read_a_line_each(make_server: Any) -> None:
    with make_server(GRPC_REQUIRE_AUTH=False) as url:
        lines = run("doctor", "--url", url).stdout.splitlines()
    assert lines[1] == "ok    methods         all 22 of sentry.integrations.scm.v1.ScmService are served"
    assert lines[4:6] == [
        "warn  authentication  calls without credentials are accepted",
        "                      Set GRPC_AUTH_TOKENS, GRPC_TOKEN_SECRETS or GRPC_HMAC_SECRETS, unless calls are public.",
    ]


def none_left(app: Flask) -> None:
    """A limit of the bearer's own."""

    @app.before_request
    def refuse() -> None:
        if request.headers.get("x-grpc-auth-token") == TOKEN:
            abort(429)


def after(change: Callable[[Response], object]) -> Change:
    """A change of every response of the app."""

    def add(app: Flask) -> None:
        @app.after_request
        def run(response: Response) -> Response:
            change(response)
            return response

    return add


Headers = list[tuple[str, str]]


def proxied(change: Callable[[Any, str, Headers], tuple[str, Headers]]) -> Change:
    """A proxy that changes the heads of responses; it gets the environment, too."""

    class Proxied(Flask):
        def __call__(self, environ: Any, start_response: Any) -> Any:
            def start(status: str, headers: Any, exc_info: Any = None) -> Any:
                return start_response(*change(environ, status, headers), exc_info)

            return super().__call__(environ, start)

    def add(app: Flask) -> None:
        app.__class__ = Proxied

    return add


def expose(names: str) -> Change:
    """A proxy that says which headers a page may read."""

    def change(environ: Any, status: str, headers: Headers) -> tuple[str, Headers]:
        kept = [pair for pair in headers if pair[0].lower() != "access-control-expose-headers"]
        return status, [*kept, ("Access-Control-Expose-Headers", names)]

    return proxied(change)


def as_text(environ: Any, status: str, headers: Headers) -> tuple[str, Headers]:
    return status, [(name, value.replace("application/json", "text/plain")) for name, value in headers]


def forbid_queries(environ: Any, status: str, headers: Headers) -> tuple[str, Headers]:
    if "message=" not in environ["QUERY_STRING"]:
        return status, headers
    return "304 Not Modified", [pair for pair in headers if pair[0].lower() not in {"content-type", "content-length"}]


def before(app: Flask) -> None:
    @app.before_request
    def an_older_server() -> None:
        if request.path.endswith("/DeleteCodeMapping"):
            abort(404)


def too_long(app: Flask) -> None:
    @app.before_request
    def refuse() -> None:
        if (request.content_length or 0) > 2**20:
            abort(413)


def reflect(response: Response) -> None:
    response.headers["access-control-allow-origin"] = request.headers.get("origin", "*")
    response.headers["access-control-allow-credentials"] = "true"


def in_seconds(seconds: float) -> Change:
    return after(lambda response: response.headers.set("date", email.utils.formatdate(time.time() + seconds)))


def own_preflight(app: Flask) -> None:
    @app.before_request
    def answer() -> Response | None:
        if request.method != "OPTIONS":
            return None
        allow = {"access-control-allow-origin": ORIGIN, "access-control-allow-headers": "content-type, x-grpc-web"}
        return Response(headers=allow)


def without_cors(response: Response) -> None:
    if request.method == "POST":
        response.headers.pop("access-control-allow-origin", None)


@pytest.mark.needs("time")
@pytest.mark.parametrize(
    ("change", "config", "arguments", "expected", "text"),
    [
        # The server
        (before, {}, [], ("warn", "methods"), "not served: DeleteCodeMapping"),
        (after(lambda r: r.headers.set("server", "nginx/1.2.3")), {}, [], ("warn", "versions"), "'nginx/1.2.3'"),
        (after(lambda r: r.headers.set("server", "Werkzeug/3 Python/3")), {}, [], ("warn", "versions"), "development"),
        (in_seconds(20), {}, [], ("warn", "clock"), " s ahead"),
        (in_seconds(-20), {}, [], ("warn", "clock"), " s behind"),
        (in_seconds(400), {}, [], ("fail", "clock"), "Signed requests are refused"),
        (after(lambda r: r.headers.set("date", "now")), {}, [], ("warn", "clock"), "no Date header"),
        (
            after(lambda r: r.mimetype == "application/grpc-web-text" and r.headers.set("content-type", "text/plain")),
            {}, [], ("fail", "gRPC-Web"), "the response to application/grpc-web-text is 'text/plain'",
        ),
        (
            after(lambda r: "json" in r.mimetype and setattr(r, "status_code", 502)),
            {}, [], ("fail", "gRPC-Web"), "the response to application/grpc-web+json is HTTP 502",
        ),
        (proxied(as_text), {}, [], ("fail", "Connect"), "the response to POST of application/proto is 'text/plain'"),
        (proxied(forbid_queries), {}, [], ("fail", "Connect"), "the response to GET of application/json is HTTP 304"),
        # Proxies
        (too_long, {}, [], ("warn", "proxy"), "client_max_body_size"),
        (None, {"GRPC_METRICS_PATH": "/metrics"}, [], ("warn", "proxy"), "everybody may read the metrics at /metrics"),
        # Credentials
        (None, {"GRPC_REQUIRE_AUTH": False}, [], ("warn", "authentication"), "are accepted"),
        (None, {}, ["--token", "wrong"], ("fail", "credentials"), "the token is not valid"),
        (None, {}, ["--token", ""], ("warn", "credentials"), "Give --token or --hmac-secret"),
        # Limits
        (None, {"GRPC_RATE_LIMITS": "4/minute"}, [], ("warn", "authentication"), "cannot be examined"),
        (None, {"GRPC_RATE_LIMITS": "5/minute"}, [], ("warn", "authentication"), "cannot be examined"),
        (none_left, {}, [], ("warn", "calls"), "RESOURCE_EXHAUSTED"),
        # Pages
        (None, {}, ["--origin", "https://other.example"], ("fail", "CORS"), "may not call"),
        (None, {"GRPC_CORS_ORIGINS": ""}, ["--origin", ORIGIN], ("fail", "CORS"), "Add it to GRPC_CORS_ORIGINS"),
        (None, {"GRPC_CORS_ORIGINS": "*"}, [], ("warn", "CORS"), "pages of every origin may call"),
        (after(reflect), {}, [], ("fail", "CORS"), "with their users' cookies"),
        (own_preflight, {}, ["--origin", ORIGIN], ("fail", "CORS"), "may not send grpc-timeout, x-grpc-auth-token"),
        (after(without_cors), {}, ["--origin", ORIGIN], ("fail", "CORS"), "the response does not"),
        (
            expose("x-a, Grpc-Status"),
            {}, ["--origin", ORIGIN], ("fail", "CORS"), "cannot read grpc-message, grpc-status-details-bin",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(
    make_server: Any,
    change: Change | None,
    config: dict[str, Any],
    arguments: list[str],
    expected: tuple[str, str],
    text: str,
) -> None:
    level, subject = expected
    with make_server(change or (lambda app: None), **config) as url:
        findings = examine(url, "--token", TOKEN, *arguments, exit_code=1 if level == "fail" else 0)
    assert levels(findings)[subject] == level
    assert text in findings[subject]["text"] + findings[subject]["advice"]
    assert findings[subject]["advice"]


@pytest.mark.parametrize("seconds", [100, -100])
def test_a_clock_that_is_off_is_measured(make_server: Any, seconds: int) -> None:
    with make_server(in_seconds(seconds)) as url:
        text = examine(url, "--token", TOKEN, exit_code=0)["clock"]["text"]
    measured = re.fullmatch(r"the server's clock is ([0-9]+) s (ahead|behind)", text)
    assert measured is not None
    assert int(measured[1]) == pytest.approx(100, abs=5)
    assert measured[2] == ("ahead" if seconds > 0 else "behind")


def test_a_server_without_tables(make_server: Any) -> None:
    with make_server(PROPAGATE_EXCEPTIONS=False) as url:
        with make_server.app.app_context():
            db.drop_all()
        findings = examine(url, "--token", TOKEN, exit_code=1)
    assert "INTERNAL (13): internal error" in findings["calls"]["text"]
    assert "tables" in findings["calls"]["advice"]


@pytest.mark.parametrize(("config", "path"), [({}, "/rpc"), ({"GRPC_SCM": False}, "")])
def test_a_service_that_is_not_there(make_server: Any, config: dict[str, Any], path: str) -> None:
    with make_server(**config) as url:
        findings = examine(url + path, "--token", TOKEN, exit_code=1)
    assert list(findings) == ["reachability", "methods", "clock", "versions"]
    assert "GRPC_URL_PREFIX" in findings["methods"]["advice"]


def test_nobody_answers() -> None:
    findings = examine(f"http://127.0.0.1:{free_port()}", exit_code=1)
    assert list(findings) == ["reachability"]
    assert "refused" in findings["reachability"]["text"]


@pytest.mark.parametrize(
    "script", [Peer.wait, lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\n" * 1000, 0.02)], ids=["silence", "drip"]
)
def test_a_server_that_does_not_answer_in_time(script: Callable[[Peer], None]) -> None:
    started = time.monotonic()
    with serve(script) as server:
        findings = examine(server.url, "--timeout", "0.2", exit_code=1)
    assert list(findings) == ["reachability"]
    assert time.monotonic() - started < 5


def test_a_credential_may_be_metadata(make_server: Any) -> None:
    with make_server() as url:
        findings = examine(url, "-m", f"authorization=Bearer {TOKEN}", exit_code=0)
    assert (findings["authentication"]["level"], findings["calls"]["level"]) == ("ok", "ok")


@pytest.mark.needs("time")
def test_calls_that_never_end_are_not_taken_for_answers(make_server: Any) -> None:
    over = threading.Event()

    def stall(app: Flask) -> None:
        @app.before_request
        def wait() -> None:
            if "grpc-timeout" in request.headers:
                over.wait(30)

    with make_server(stall) as url:
        findings = examine(url, "--timeout", "2", exit_code=1)
        over.set()
    assert "DEADLINE_EXCEEDED" in findings["calls"]["text"]
    assert "authentication" not in findings


def test_a_certificate_of_nobody_known() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with serve(lambda peer: peer.send(http()), context) as server:
        assert "--ca-certs" in examine(server.url, exit_code=1)["reachability"]["advice"]
        assert list(examine(server.url, "--ca-certs", CERTIFICATE, exit_code=1)) == [
            "reachability", "methods", "clock", "versions",
        ]  # fmt: skip


def test_a_port_that_speaks_http_and_not_https(make_server: Any) -> None:
    with make_server() as url, recording(make_server.app) as recorder:
        findings = examine(url.replace("http:", "https:"), "--token", TOKEN, exit_code=1)
    assert list(findings) == ["reachability"]
    assert "responds without TLS" in findings["reachability"]["text"]
    assert findings["reachability"]["advice"] == f"The server speaks plain HTTP there: is its URL {url}?"
    assert recorder.calls == []


def test_a_port_that_speaks_https_and_not_http() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with serve(lambda peer: peer.send(http()), context) as server:
        findings = examine(server.url.replace("https:", "http:"), "--token", TOKEN, exit_code=1)
    assert list(findings) == ["reachability"]
    assert findings["reachability"]["advice"] == f"The server speaks TLS there: is its URL {server.url}?"
    assert server.requests == []


class TlsPort(BaseHTTPRequestHandler):
    """Responds to plain HTTP as nginx does at a port of TLS."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def handle(self) -> None:
        if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
            with contextlib.suppress(ssl.SSLError):  # the client does not trust the certificate
                self.context.wrap_socket(self.connection, server_side=True)
        else:
            self.connection.recv(65536)
            self.connection.sendall(http(b"", "connection: close", status="400 Bad Request"))
            # A part of the request that nobody reads would reset the connection.
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(65536):
                pass


def test_a_port_of_tls_that_responds_to_plain_http() -> None:
    TlsPort.context.load_cert_chain(CERTIFICATE)
    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), TlsPort)) as url:
        finding = examine(url, exit_code=1)["methods"]
    assert finding["text"].endswith("HTTP 400 Bad Request")
    assert finding["advice"] == f"The server speaks TLS there: is its URL {url.replace('http:', 'https:')}?"


@pytest.mark.parametrize(
    ("status", "headers", "text", "advice"),
    [
        ("502 Bad Gateway", ["server: nginx"], "HTTP 502 Bad Gateway, of 'nginx'", "Is the app running"),
        ("503 Service Unavailable", [], "HTTP 503 Service Unavailable", "Is the app running"),
        ("504 Gateway Timeout", [], "HTTP 504 Gateway Timeout", "Is the app running"),
        ("500 Internal Server Error", [], "HTTP 500 Internal Server Error", "Read the log"),
        ("599 Other", [], "HTTP 599", "Read the log"),
        ("401 Unauthorized", [], "HTTP 401 Unauthorized", "without a login"),
        ("429 Too Many Requests", [], "HTTP 429 Too Many Requests", "Run this again"),
        ("404 Not Found", [], "HTTP 404 Not Found", "GRPC_URL_PREFIX"),
    ],
)
def test_what_a_proxy_says_in_place_of_the_app(status: str, headers: list[str], text: str, advice: str) -> None:
    with serve(lambda peer: peer.send(http(b"<h1>no</h1>", *headers, status=status))) as server:
        finding = examine(server.url, exit_code=1)["methods"]
    assert finding["text"] == f"sentry.integrations.scm.v1.ScmService is not here: {text}"
    assert advice in finding["advice"]


def test_a_proxy_that_loses_some_requests(make_server: Any) -> None:
    statuses = iter(["405 Method Not Allowed"] * 3)
    with serve(lambda peer: peer.send(http(status=next(statuses, "502 Bad Gateway")))) as server:
        finding = examine(server.url, exit_code=1)["methods"]
    assert (finding["level"], "HTTP 502 Bad Gateway" in finding["text"]) == ("fail", True)


def test_a_redirect_is_measured_and_not_followed() -> None:
    with serve(lambda peer: peer.send(http())) as other:
        redirect = http(b"", f"location: {other.url}/", status="301 Moved Permanently")
        with serve(lambda peer: peer.send(redirect)) as server:
            findings = examine(server.url, "--token", TOKEN, exit_code=1)
        assert other.connections == 0
        assert f"It redirects to '{other.url}/'" in findings["methods"]["advice"]
        assert all("x-grpc-auth-token" not in head for head in server.requests)


def test_a_credential_without_tls_gets_a_warning(make_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.client.doctor._LOCAL", set())
    with make_server() as url:
        assert examine(url, "--token", TOKEN, exit_code=0)["reachability"]["level"] == "warn"
        assert examine(url, exit_code=0)["reachability"]["level"] == "ok"


@pytest.mark.parametrize("arguments", [[], ["--url", "ftp://example.test"], ["--url", "http://u:p@example.test"]])
def test_a_wrong_url_is_no_finding(arguments: list[str]) -> None:
    result = run("doctor", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("config", "exit_code", "text"),
    [
        ({}, 0, None),
        ({"GRPC_HEALTH": True}, 0, "the server is ready"),
        ({"GRPC_HEALTH": True, "GRPC_DRAIN_FILE": __file__}, 1, "the server is not ready"),
    ],
)
def test_health_is_looked_at_where_it_is_served(
    make_server: Any, config: dict[str, Any], exit_code: int, text: str | None
) -> None:
    with make_server(**config) as url:
        findings = examine(url, "--token", TOKEN, exit_code=exit_code)
    assert findings.get("health", {}).get("text") == text
