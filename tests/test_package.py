"""The public names, and what importing some of them leaves out."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flask_grpcweb_scm


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
def test_what_an_import_leaves_out(code: str, absent: set[str]) -> None:
    assert modules_after(code) & absent == set()
