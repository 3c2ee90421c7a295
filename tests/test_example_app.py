"""The example app, called the way its page calls it: JSON messages, over the Flask test client."""

import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import create_app
from tests.browser.browser import running_scenarios
from tests.browser.build import missing_tools
from tests.servers import serving


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flask:
    monkeypatch.setenv("FLASK_TESTING", "true")
    monkeypatch.setenv("FLASK_DICE_PAUSE", "0")
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/example.db")
    return create_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        flags, length = struct.unpack_from("!BI", body)
        yield flags, body[5 : 5 + length]
        body = body[5 + length :]


def _call(client: FlaskClient, path: str, request: dict[str, Any]) -> tuple[list[Any], str]:
    """Call a method, and return its messages and status."""
    message = json.dumps(request).encode()
    response = client.post(
        path,
        data=struct.pack("!BI", 0, len(message)) + message,
        content_type="application/grpc-web+json",
        headers={"X-Grpc-Web": "1"},
    )
    if "grpc-status" in response.headers:
        return [], response.headers["grpc-status"]
    *messages, (_, trailers) = _frames(response.data)
    status = dict(line.split(": ", 1) for line in trailers.decode().splitlines())["grpc-status"]
    return [json.loads(payload) for _, payload in messages], status


@pytest.mark.parametrize(("tokens", "status"), [(None, "0"), ("t", "16")])
def test_it_is_open_on_purpose_until_credentials_are_configured(
    monkeypatch: pytest.MonkeyPatch, tokens: str | None, status: str
) -> None:
    monkeypatch.setenv("FLASK_GRPC_SCM", "false")
    if tokens:
        monkeypatch.setenv("FLASK_GRPC_AUTH_TOKENS", tokens)
    assert _call(create_app().test_client(), "/example.dice.v1.Dice/Roll", {})[1] == status


def test_the_page_lists_every_method_and_leads_to_it_in_the_console(client: FlaskClient) -> None:
    page = client.get("/").text
    for name in ("example.dice.v1.Dice", "sentry.integrations.scm.v1.ScmService"):
        assert f"<code>{name}</code>" in page
    for name in ("Dice/Roll", "Dice/RollUntil", "ScmService/ListRepositories", "ScmService/LinkExternalIssue"):
        assert re.search(rf'href="/_grpc/#/[\w.]+\.{name}"', page)
    assert page.count(" streams") == 2
    assert client.get("/_grpc/").status_code == 200


def test_without_the_console_there_is_no_link_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_TESTING", "true")
    monkeypatch.setenv("FLASK_GRPC_SCM", "false")
    monkeypatch.setenv("FLASK_GRPC_CONSOLE", "false")
    client = create_app().test_client()
    assert "_grpc" not in client.get("/").text
    assert client.get("/_grpc/").status_code == 404


def test_the_page_finds_its_scripts(client: FlaskClient) -> None:
    linked = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").text))
    assert len(linked) == 3
    for path in linked:
        with client.get(path) as response:
            assert response.status_code == 200


def test_the_page_knows_where_the_services_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_TESTING", "true")
    monkeypatch.setenv("FLASK_GRPC_URL_PREFIX", "/rpc")
    monkeypatch.setenv("FLASK_GRPC_SCM", "false")
    client = create_app().test_client()
    page = client.get("/").text
    assert 'data-prefix="/rpc"' in page
    assert "ScmService" not in page
    assert _call(client, "/rpc/example.dice.v1.Dice/Roll", {})[1] == "0"


def test_what_make_run_sets_up_is_listed_once_however_often(app: Flask, tmp_path: Path) -> None:
    for _ in range(2):
        result = app.test_cli_runner().invoke(args=["scm", "demo", "--folder", str(tmp_path)])
        assert result.exit_code == 0, result.output
    path = "/sentry.integrations.scm.v1.ScmService/ListRepositories"
    [page], status = _call(app.test_client(), path, {"organizationId": "1"})
    assert status == "0"
    assert [repository["name"] for repository in page["repositories"]] == ["acme/shop", "acme/web"]


def test_a_roll_is_on_the_die(client: FlaskClient) -> None:
    messages, status = _call(client, "/example.dice.v1.Dice/Roll", {"sides": 2})
    assert status == "0"
    assert messages in ([{"value": 1}], [{"value": 2}])


def test_a_stream_of_rolls_ends_with_the_target(client: FlaskClient) -> None:
    messages, status = _call(client, "/example.dice.v1.Dice/RollUntil", {"target": 6})
    *misses, last = [message["value"] for message in messages]
    assert status == "0"
    assert last == 6
    assert set(misses) <= {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Roll", {"sides": 1}),
        ("Roll", {"sides": -6}),
        ("Roll", {"sides": 101}),
        ("RollUntil", {"sides": 6, "target": 0}),
        ("RollUntil", {"sides": 6, "target": 7}),
        ("RollUntil", {"sides": 1, "target": 1}),
    ],
)
def test_a_die_that_cannot_be_rolled_is_an_invalid_argument(
    client: FlaskClient, method: str, request_: dict[str, int]
) -> None:
    assert _call(client, f"/example.dice.v1.Dice/{method}", request_) == ([], "3")


REBOUND = [
    "evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io:8000",
    "evillocalhost", "0.0.0.0:8000", "192.168.0.7:8000", "169.254.169.254", "[::2]:8000", "[fe80::1]", "app.evil",
    "demo.example.evil:81", "xdemo.example",
]  # fmt: skip
OWN = [
    "localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:5000", "[::1]", "[::1]:8000", "demo.example:443",
    "Demo.Example", "a.wide.example",
]  # fmt: skip


@pytest.mark.parametrize(("host", "status"), [*((host, 403) for host in REBOUND), *((host, 200) for host in OWN)])
def test_it_responds_to_its_own_hosts_alone(monkeypatch: pytest.MonkeyPatch, host: str, status: int) -> None:
    monkeypatch.setenv("FLASK_TESTING", "true")
    monkeypatch.setenv("FLASK_GRPC_SCM", "false")
    monkeypatch.setenv("FLASK_TRUSTED_HOSTS", "demo.example, .wide.example")
    client = create_app().test_client()
    headers = {"Host": host}
    page = client.get("/", headers=headers)
    assert page.status_code == status
    with client.get("/static/page.js", headers=headers) as script:
        assert script.status_code == status
    call = {"data": b"\0\0\0\0\0", "content_type": "application/grpc-web+proto", "headers": headers}
    for _ in range(2):  # a known route, too
        roll = client.post("/example.dice.v1.Dice/Roll", **call)  # type: ignore[arg-type]
        assert (roll.headers.get("grpc-status") == "7") == (status == 403)
        assert bool(roll.data) == (status == 200)
    if status == 403:
        assert page.text == f"{host!r} is not a host of this app; name it in FLASK_TRUSTED_HOSTS if it should be one\n"


def test_behind_proxies_their_host_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_GRPC_SCM", "false")
    headers = {"Host": "10.0.0.5:8000", "X-Forwarded-Host": "localhost"}
    assert create_app().test_client().get("/", headers=headers).status_code == 403
    monkeypatch.setenv("FLASK_PROXIES", "1")
    assert create_app().test_client().get("/", headers=headers).status_code == 200


def test_its_page_may_load_and_call_nothing_but_the_app(client: FlaskClient) -> None:
    page = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy.pop("default-src") == "'none'"
    assert not any("unsafe" in sources or "*" in sources or "http" in sources for sources in policy.values())
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    # What the policy refuses, the page must not have.
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", page.text) is None
    assert "Content-Security-Policy" in client.get("/nothing").headers
    assert client.get("/").headers["X-Content-Type-Options"] == "nosniff"


PRODUCTION = {
    "FLASK_SECRET_KEY": "5f352379324c22463451387a0aec5d2f",
    "FLASK_GRPC_AUTH_TOKENS": json.dumps({"7c1b9a44e02d4f3c8d60aa51f2e9b8c3": {"organizations": ["demo"]}}),
    "FLASK_GRPC_RATE_LIMITS": "600/minute",
    "FLASK_PROXIES": "1",
}


@pytest.mark.parametrize("missing", [None, *(key for key in PRODUCTION if key != "FLASK_PROXIES")])
def test_check_has_advice_until_it_is_configured_for_production(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str | None
) -> None:
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/example.db")
    for key, value in PRODUCTION.items():
        if key != missing:
            monkeypatch.setenv(key, value)
    result = create_app().test_cli_runner().invoke(args=["grpc", "check"])
    if missing is None:
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No advice.\n")
    else:
        assert result.exit_code == (0 if missing == "FLASK_GRPC_AUTH_TOKENS" else 1), result.output


@pytest.mark.needs("browser")
def test_its_page_works_in_a_browser_that_holds_it_to_its_policy(app: Flask, tmp_path: Path) -> None:
    if missing_tools():
        pytest.fail(missing_tools()) if os.environ.get("CI") else pytest.skip(missing_tools())
    assert app.test_cli_runner().invoke(args=["scm", "demo", "--folder", str(tmp_path)]).exit_code == 0
    with serving(app) as url, running_scenarios(tmp_path) as chromium:
        # The page calls by itself.
        text = chromium.play("steps", {"url": f"{url}/", "steps": [("see", "status 0, ")]})
    assert re.search(r"status 0, [1-9]\d* messages", text)
