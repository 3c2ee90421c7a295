"""The README says what is true: its code runs, its tables are complete."""

from __future__ import annotations

import dataclasses
import importlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import GrpcWebScm, Service, StatusCode
from flask_grpcweb_scm.scm import Organization, Repository, db
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import CONNECT_TYPES, CONTENT_TYPES
from tests import documents
from tests.grpcweb import call
from tests.servers import serving
from tests.test_proto import GENERATOR, require_generator

ROOT = Path(__file__).parent.parent
README = documents.README.read_text()


def block(language: str, containing: str) -> str:
    """The README's code block that contains a text."""
    return documents.block(documents.README, language, containing)


def settings_table() -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = getattr(Settings(), field.name)
        shown = "" if default in (None, (), {}, frozenset(), "") else f"`{default}`"
        lines.append(f"| `GRPC_{field.name.upper()}` | {shown} | {field.metadata['meaning']} |")
    return "\n".join(lines)


def test_every_key_is_listed_as_the_code_has_it() -> None:
    listed = README.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]
    assert listed == settings_table(), f"put this there:\n{settings_table()}"


def test_every_content_type_is_listed() -> None:
    section = README.partition("### Content types")[2].partition("###")[0]
    assert set(re.findall(r"`(application/[^`]+)`", section)) == {*CONTENT_TYPES, *CONNECT_TYPES}


def test_the_statuses_are_listed_by_their_names() -> None:
    section = README.partition("## Statuses")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", section, re.MULTILINE)
    assert listed == [(str(int(code)), code.name) for code in StatusCode if str(int(code)) in dict(listed)]
    assert len(listed) >= 15


@pytest.mark.parametrize("name", ["connect-web", "grpc-web"])
def test_the_typescript_is_what_the_browser_tests_run(name: str) -> None:
    assert f"```ts\n{(ROOT / f'tests/browser/snippets/{name}.ts').read_text()}```" in README


@pytest.fixture
def greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module app.py of the README, beside its compiled proto."""
    require_generator()
    (tmp_path / "greeter.proto").write_text(block("proto", "service Greeter"))
    (tmp_path / "app.py").write_text(block("python", "def create_app"))
    command = re.search(r"`python (-m grpc_tools\.protoc [^`]+)`", README)
    assert command is not None
    subprocess.run([GENERATOR, *command[1].split()], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("app")
    for name in ("app", "greeter_pb2"):
        sys.modules.pop(name)


def test_the_service_of_the_readme_works(greeter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_TESTING", "true")
    pb = greeter.greeter_pb2
    client = greeter.create_app().test_client()
    reply = call(client, "/greeter.v1.Greeter/SayHello", pb.HelloRequest(name="Ann")).only(pb.HelloReply)
    assert reply.text == "Hello Ann"
    assert call(client, "/greeter.v1.Greeter/SayHello", pb.HelloRequest()).code == 3
    counted = call(client, "/greeter.v1.Greeter/CountTo", pb.CountRequest(limit=3)).messages(pb.CountReply)
    assert [reply.number for reply in counted] == [1, 2, 3]
    assert greeter.say_hello(pb.HelloRequest(name="Bo"), None).text == "Hello Bo"


def test_the_async_functions_of_their_page_work(greeter: Any) -> None:
    pb = greeter.greeter_pb2
    service = Service(pb.DESCRIPTOR.services_by_name["Greeter"])
    exec(documents.block(ROOT / "docs/async.md", "python", "async def"), {"greeter": service, "greeter_pb2": pb})
    app = Flask(__name__)
    app.testing = True
    app.config["GRPC_SCM"] = False
    GrpcWebScm(app, services=[service])
    client = app.test_client()
    assert (
        call(client, "/greeter.v1.Greeter/SayHello", pb.HelloRequest(name="Ann")).only(pb.HelloReply).text
        == "Hello Ann"
    )
    counted = call(client, "/greeter.v1.Greeter/CountTo", pb.CountRequest(limit=2)).messages(pb.CountReply)
    assert [reply.number for reply in counted] == [1, 2]


def test_the_interceptor_of_the_readme_works(greeter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"GrpcWebScm": GrpcWebScm, "greeter": greeter.greeter}
    exec(block("python", "@grpc.intercept"), names)
    app = Flask(__name__)
    app.testing = True
    app.config["GRPC_SCM"] = False
    names["grpc"].init_app(app)
    call(app.test_client(), "/greeter.v1.Greeter/SayHello", greeter.greeter_pb2.HelloRequest(name="Ann"))
    path, seconds = capsys.readouterr().out.split()
    assert path == "/greeter.v1.Greeter/SayHello"
    assert 0 <= float(seconds) < 5


def test_the_python_clients_of_the_readme_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/scm.db", GRPC_AUTH_TOKENS="your-auth-token")
    GrpcWebScm(app)
    with app.app_context():
        db.create_all()
        organization = Organization(slug="demo", name="Demo")
        db.session.add(Repository(organization=organization, name="one"))
        db.session.commit()
        assert organization.id == 1
    with serving(app) as url:
        for containing in ("ScmGrpcClient", "urllib.request"):
            client = block("python", containing).replace("http://127.0.0.1:8000", url)
            exec(client, {})
        with pytest.raises(SystemExit, match="16: the token is not valid"):
            exec(client.replace("your-auth-token", "wrong"), {})
    assert capsys.readouterr().out == "Found 1 repositories, the first is one\nFound 1 repositories\n"


def test_the_signature_of_the_readme_is_accepted() -> None:
    import time

    from tests.apps import ECHO, echo_app
    from tests.echo_pb2 import EchoRequest

    message = EchoRequest(text="hi")
    names = {"path": ECHO + "Unary", "secret": "s", "message": message.SerializeToString(), "now": int(time.time())}
    exec(block("python", "import sign"), names)
    client = echo_app(GRPC_HMAC_SECRETS="s", GRPC_HMAC_REQUIRE_TIMESTAMP=True).test_client()
    assert call(client, ECHO + "Unary", message, headers=names["headers"]).code == 0
    assert call(client, ECHO + "Unary", EchoRequest(text="ho"), headers=names["headers"]).code == 16
