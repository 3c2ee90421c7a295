"""The README says what is true, and so do the pages that go on from its greeter."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from google.rpc.error_details_pb2 import BadRequest

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, Service, StatusCode
from flask_grpcweb_scm.scm import Organization, Repository, db
from tests.documents import PAGES, README, ROOT, block, blocks
from tests.grpcweb import call
from tests.servers import serving
from tests.test_proto import GENERATOR, require_generator

TEXT = README.read_text()
GREETER = "/greeter.v1.Greeter/"


@pytest.mark.needs("setuptools")
def test_it_is_short_and_its_links_lead_to_pages_of_the_site_elsewhere() -> None:
    assert len(TEXT.encode()) <= 9000
    setup = runpy.run_path(str(ROOT / "setup.py"))
    site, shown = setup["site"](), setup["readme"]()
    targets = re.findall(r"\]\(([^)]*)\)", shown)
    pages = {target.removeprefix(site).partition("#")[0] for target in targets if target.startswith(site)}
    assert pages == {f"{page.removesuffix('.html')}.html" for page in pages}
    assert {page.removesuffix(".html") for page in pages} <= PAGES.keys()
    assert len(pages) > 30
    assert all(target.startswith("https://") for target in targets)
    assert site.startswith("https://")
    assert site.endswith("/")


@pytest.fixture
def greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module app.py of the README, beside its compiled proto."""
    require_generator()
    (tmp_path / "greeter.proto").write_text(block(README, "proto", "service Greeter"))
    (tmp_path / "app.py").write_text(block(README, "python", "def create_app"))
    command = re.search(r"`python (-m grpc_tools\.protoc [^`]+)`", TEXT)
    assert command is not None
    subprocess.run([GENERATOR, *command[1].split()], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("app")
    for name in ("app", "greeter_pb2"):
        sys.modules.pop(name)


def test_its_service_works(greeter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_TESTING", "true")
    pb = greeter.greeter_pb2
    client = greeter.create_app().test_client()
    assert call(client, GREETER + "SayHello", pb.HelloRequest(name="Ann")).only(pb.HelloReply).text == "Hello Ann"
    assert call(client, GREETER + "SayHello", pb.HelloRequest()).code == 3
    counted = call(client, GREETER + "CountTo", pb.CountRequest(limit=3)).messages(pb.CountReply)
    assert [reply.number for reply in counted] == [1, 2, 3]
    assert greeter.say_hello(pb.HelloRequest(name="Bo"), None).text == "Hello Bo"


def app_of(greeter: Any, code: str, **names: Any) -> Any:
    """A client of an app whose greeter is what a page says."""
    service = Service(greeter.greeter_pb2.DESCRIPTOR.services_by_name["Greeter"])
    exec(code, {"greeter": service, "greeter_pb2": greeter.greeter_pb2, "StatusCode": StatusCode, **names})
    service.unimplemented(*(method for method in ("SayHello", "CountTo") if f'"{method}"' not in code))
    app = Flask(__name__)
    app.testing = True
    app.config["GRPC_SCM"] = False
    GrpcWebScm(app, services=[service])
    return app.test_client()


def test_the_async_functions_of_their_page_work(greeter: Any) -> None:
    pb = greeter.greeter_pb2
    client = app_of(greeter, block(PAGES["async"], "python", "async def"))
    assert call(client, GREETER + "SayHello", pb.HelloRequest(name="Ann")).only(pb.HelloReply).text == "Hello Ann"
    counted = call(client, GREETER + "CountTo", pb.CountRequest(limit=2)).messages(pb.CountReply)
    assert [reply.number for reply in counted] == [1, 2]


def test_the_errors_of_their_page_arrive(greeter: Any) -> None:
    pb = greeter.greeter_pb2
    raising, declaring = blocks(PAGES["errors"], "python")
    fails = '@greeter.rpc("CountTo")\ndef count_to(request, context):\n    yield fail(NoSuchUser("no user 7"))\n'

    def fail(error: Exception) -> None:
        raise error

    client = app_of(greeter, raising + declaring + fails, fail=fail)
    refused = call(client, GREETER + "SayHello", pb.HelloRequest())
    assert (refused.code, refused.message) == (3, "name is empty")
    (detail,) = refused.details(BadRequest)
    assert detail.field_violations[0].field == "name"
    gone = call(client, GREETER + "CountTo", pb.CountRequest(limit=1))
    assert (gone.code, gone.message) == (5, "no user 7")


def test_the_metadata_of_their_page_travel(greeter: Any) -> None:
    pb = greeter.greeter_pb2
    client = app_of(greeter, block(PAGES["metadata"], "python", "SayHello"))
    said = call(client, GREETER + "SayHello", pb.HelloRequest(name="Ann"), headers={"X-Language": "de"})
    assert said.only(pb.HelloReply).text == "Hallo Ann"
    assert said.headers["x-served-in"] == "de"
    assert said.trailers["digest-bin"] == "AAE"


def test_the_long_function_of_that_page_heeds_the_deadline() -> None:
    names: dict[str, Any] = {"look_up": lambda word, timeout: word}
    exec(block(PAGES["metadata"], "python", "check_deadline"), names)
    assert [*names["find"](["a"], CallContext(timeout=60))] == ["a"]
    with pytest.raises(RpcError, match="DEADLINE_EXCEEDED"):
        next(names["find"](["a"], CallContext(timeout=0)))


@pytest.mark.parametrize("code", blocks(PAGES["streams"], "python"), ids=["messages", "batches"])
def test_the_streams_of_their_page_work(greeter: Any, code: str) -> None:
    pb = greeter.greeter_pb2
    client = app_of(greeter, code)
    counted = call(client, GREETER + "CountTo", pb.CountRequest(limit=3)).messages(pb.CountReply)
    assert [reply.number for reply in counted] == [1, 2, 3]


def test_the_interceptor_of_the_page_about_services_works(greeter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"GrpcWebScm": GrpcWebScm, "greeter": greeter.greeter}
    exec(block(PAGES["services"], "python", "@grpc.intercept"), names)
    app = Flask(__name__)
    app.testing = True
    app.config["GRPC_SCM"] = False
    names["grpc"].init_app(app)
    call(app.test_client(), GREETER + "SayHello", greeter.greeter_pb2.HelloRequest(name="Ann"))
    path, seconds = capsys.readouterr().out.split()
    assert path == GREETER + "SayHello"
    assert 0 <= float(seconds) < 5


def test_the_python_clients_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        for code in (block(README, "python", "ScmGrpcClient"), block(PAGES["grpc-web"], "python", "urllib.request")):
            client = code.replace("http://127.0.0.1:8000", url)
            exec(client, {})
        with pytest.raises(SystemExit, match="16: the token is not valid"):
            exec(client.replace("your-auth-token", "wrong"), {})
    assert capsys.readouterr().out == "Found 1 repositories, the first is one\nFound 1 repositories\n"
