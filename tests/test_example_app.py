"""The example app, called the way its page calls it: JSON messages, over the Flask test client."""

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import create_app


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


def test_the_page_lists_every_method(client: FlaskClient) -> None:
    page = client.get("/").text
    for name in ("example.dice.v1.Dice", "sentry.integrations.scm.v1.ScmService"):
        assert f"<code>{name}</code>" in page
    for name in ("Roll", "RollUntil", "ListRepositories", "LinkExternalIssue"):
        assert f"<code>{name}</code>" in page
    assert page.count("a stream of") == 2


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
    checkout = tmp_path / "checkout"
    author = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    subprocess.run(["git", "-C", checkout, *author, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    commands = [["init-db"], ["add-organization", "demo"], ["import-git", "demo", str(checkout)]]
    for command in commands * 2:
        result = app.test_cli_runner().invoke(args=["scm", *command])
        assert result.exit_code == 0, result.output
    path = "/sentry.integrations.scm.v1.ScmService/ListRepositories"
    [page], status = _call(app.test_client(), path, {"organizationId": "1"})
    assert status == "0"
    assert [repository["name"] for repository in page["repositories"]] == ["checkout"]


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
