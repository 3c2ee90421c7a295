"""The public names, what importing some of them leaves out, and the oldest versions of what is imported."""

from __future__ import annotations

import configparser
import importlib
import re
import subprocess
import sys
import types
from typing import get_origin

import pytest
from packaging.version import Version

import flask_grpcweb_scm
from tests.documents import PAGES, ROOT

EXTRAS_OF_TESTS = ["async", "celery", "compression", "cors", "json", "migrations", "otel", "prometheus", "ratelimit"]


def modules_after(code: str) -> set[str]:
    """The names of all modules that a new interpreter has imported after running `code`."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())


@pytest.mark.parametrize("name", flask_grpcweb_scm.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(flask_grpcweb_scm)
    namespace: dict[str, object] = {}
    exec(f"from flask_grpcweb_scm import {name}", namespace)
    assert namespace[name] is getattr(flask_grpcweb_scm, name)


def test_a_star_import_has_them_all() -> None:
    namespace: dict[str, object] = {}
    exec("from flask_grpcweb_scm import *", namespace)
    assert set(flask_grpcweb_scm.__all__) <= set(namespace)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'flask_grpcweb_scm' has no attribute 'GrpcWeb'"):
        flask_grpcweb_scm.GrpcWeb  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'GrpcWeb'"):
        exec("from flask_grpcweb_scm import GrpcWeb")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import flask_grpcweb_scm.client", {"flask", "werkzeug", "sqlalchemy", "click"}),
        ("from flask_grpcweb_scm import RpcError, Service, StatusCode", {"flask", "werkzeug", "urllib3"}),
        ("import flask_grpcweb_scm.client.cli", {"flask", "werkzeug", "sqlalchemy"}),
        ("import flask_grpcweb_scm.pytest_plugin", {"flask", "google.protobuf", "flask_grpcweb_scm.wire"}),
        ("from flask_grpcweb_scm import GrpcWebScm", {"urllib3", "flask_grpcweb_scm.client"}),
    ],
)
@pytest.mark.needs("time")
def test_what_an_import_leaves_out(code: str, absent: set[str]) -> None:
    assert modules_after(code) & absent == set()


def public_names() -> dict[str, list[str]]:
    """The names in docs/api.md, by module."""
    found = re.findall(r"^```\{public\} (\S+)(.*)", PAGES["api"].read_text(), re.MULTILINE)
    return {module: names.split() or importlib.import_module(module).__all__ for module, names in found}


def test_every_public_name_is_described() -> None:
    bare = []
    for module, names in public_names().items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            # The docstring of a dataclass that has none is its signature; others are checked where they are built.
            text = (
                value.__doc__ if isinstance(value, type | types.FunctionType) and not get_origin(value) else "elsewhere"
            )
            if not text or text.startswith(f"{name}("):
                bare.append(f"{module}.{name}")
    assert bare == []
    assert public_names().keys() >= {f"flask_grpcweb_scm{name}" for name in ("", ".client", ".scm", ".testing")}


def test_the_documents_import_nothing_else() -> None:
    public = {(module, name) for module, names in public_names().items() for name in names}
    imported = {
        (match[1], name)
        for page in PAGES.values()
        for match in re.finditer(r"from (flask_grpcweb_scm[\w.]*) import ([\w, ]+)", page.read_text())
        for name in match[2].split(", ")
    }
    assert len(imported) > 20
    generated = {found for found in imported if "flask_grpcweb_scm.pb" in ".".join(found)}
    assert imported - generated - public == set()


def test_the_source_distribution_has_the_whole_checkout() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True)
    manifest = (ROOT / "MANIFEST.in").read_text()
    folders = {"flask_grpcweb_scm", *re.findall(r"^graft (\S+)", manifest, re.MULTILINE)}
    # The first line are those that are there by themselves.
    files = {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg", "setup.py", ""}
    files.update(*map(str.split, re.findall(r"^include (.*)", manifest, re.MULTILINE)))
    assert [
        path for path in done.stdout.split("\n") if path not in files and path.partition("/")[0] not in folders
    ] == []


@pytest.mark.needs("time")
def test_an_app_starts_on_windows_which_lacks_modules() -> None:
    code = """
import sys, flask, flask_sqlalchemy, google.rpc.error_details_pb2
sys.platform = "win32"
sys.modules.update(fcntl=None, termios=None)
from flask_grpcweb_scm import GrpcWebScm
app = flask.Flask("app")
app.config.update(GRPC_REQUIRE_AUTH=False, SQLALCHEMY_DATABASE_URI="sqlite://")
GrpcWebScm(app)
from flask_grpcweb_scm.scm import db
with app.app_context():
    db.create_all()
path = "/sentry.integrations.scm.v1.ScmService/ListRepositories"
answer = app.test_client().post(path, data=bytes(5), content_type="application/grpc-web+proto")
assert answer.status_code == 200
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_oldest_versions_are_tested() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    text = "\n".join([setup["options"]["install_requires"], *map(extras.get, EXTRAS_OF_TESTS)])
    bounds = dict(re.findall(r"^([\w-]+)(?:\[.*\])?>=([\d.]+)", text, re.MULTILINE))
    oldest = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests/oldest.txt").read_text(), re.MULTILINE))
    del oldest["werkzeug"]  # bounded by Flask
    assert {name: Version(version) for name, version in oldest.items()} == {
        name: Version(version) for name, version in bounds.items()
    }


def test_the_versions_page_has_the_bounds_and_the_classifiers() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", setup["options"]["install_requires"], re.MULTILINE))
    oldest = setup["options"]["python_requires"].removeprefix(">=")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PAGES["versions"].read_text(), re.MULTILINE))
    assert rows["Python"] == f"{oldest} and newer"
    assert rows["Flask"] == f"{bounds['flask']} and newer"
    assert (
        rows["SQLAlchemy, Flask-SQLAlchemy"]
        == f"{bounds['sqlalchemy']} and newer, {bounds['flask-sqlalchemy']} and newer"
    )
    assert rows["protobuf"].startswith(f"{bounds['protobuf']} to ")
    assert f"Python {oldest} or newer and Flask {bounds['flask']} or newer" in PAGES["README"].read_text()
    assert f"Programming Language :: Python :: {oldest}" in setup["metadata"]["classifiers"]
