"""docs/authentication.md says what is true: its apps run as printed."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask

from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from tests.documents import PAGES, files
from tests.grpcweb import Answer, call
from tests.scm.support import SERVICE, add_tenant

PAGE = PAGES["authentication"]
PASSWORD = "correct horse battery staple"
JWT_SECRET = "issuer-" + "j" * 32


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app of the page, with a database of two tenants: demo, whose rows have the id 1, and theirs."""
    name: str = request.param
    (tmp_path / f"{name}.py").write_text(files(PAGE)[f"{name}.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    for key, value in {
        "ANNS_PASSWORD": PASSWORD,
        "FLASK_SECRET_KEY": "app-" + "k" * 32,
        "FLASK_JWT_SECRET": JWT_SECRET,
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db",
    }.items():
        monkeypatch.setenv(key, value)
    app: Flask = importlib.import_module(name).create_app()
    with app.app_context():
        db.create_all()
        add_tenant("demo")
        add_tenant("theirs")
    yield app
    with app.app_context():
        db.engine.dispose()
    sys.modules.pop(name)


def ask(client: Any, repository: int = 1, **headers: str) -> Answer:
    request = scm_pb2.GetRepositoryRequest(repository_id=repository)
    return call(client, SERVICE + "GetRepository", request, headers=headers, base_url="https://localhost")


@pytest.mark.needs("time")
@pytest.mark.parametrize("example", ["users_app"], indirect=True)
def test_users_of_flask_login(example: Flask) -> None:
    client = example.test_client()
    assert (ask(client).code, ask(client).message) == (16, "log in first, at /login")
    for name, password, status in [("ann", "wrong", 401), ("bob", PASSWORD, 401), ("ann", PASSWORD, 200)]:
        form = {"name": name, "password": password}
        assert client.post("/login", data=form, base_url="https://localhost").status_code == status
    assert ask(client).code == 0
    assert ask(client, repository=2).code == 5
    assert ask(example.test_client()).code == 16


def token(key: str = JWT_SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    good = {
        "sub": "ann",
        "iss": "https://login.example/",
        "aud": "https://scm.example/",
        "exp": time.time() + 60,
        "organizations": ["demo"],
    }
    kept = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


@pytest.mark.parametrize("example", ["jwt_app"], indirect=True)
def test_bearers_of_jwt(example: Flask) -> None:
    client = example.test_client()
    assert ask(client, authorization=f"Bearer {token()}").code == 0
    assert ask(client, authorization=f"bearer  {token()}").code == 0
    assert ask(client, 2, authorization=f"Bearer {token()}").code == 5
    assert ask(client, authorization=f"Bearer {token(organizations=None)}").code == 5
    refused = [
        "",
        "Basic YTpi",
        "Bearer",
        "Bearer x.y.z",
        f"Bearer {token()}x",
        f"Bearer {token('another-' + 'j' * 32)}",
        f"Bearer {token('', 'none')}",
        f"Bearer {token('s' * 64, 'HS512')}",
        f"Bearer {token(exp=time.time() - 60)}",
        f"Bearer {token(exp=None)}",
        f"Bearer {token(sub=None)}",
        f"Bearer {token(aud='https://other.example/')}",
        f"Bearer {token(aud=None)}",
        f"Bearer {token(iss='https://evil.example/')}",
        f"Bearer {token(organizations='demo')}",
    ]
    for authorization in refused:
        assert ask(client, authorization=authorization).code == 16, authorization


@pytest.mark.parametrize("example", ["users_app", "jwt_app"], indirect=True)
def test_check_does_not_call_them_open(example: Flask) -> None:
    lines = findings(example, example.extensions["grpcweb_scm"].settings, {})
    assert [line for line in lines if "GRPC_REQUIRE_AUTH" in line] == []
