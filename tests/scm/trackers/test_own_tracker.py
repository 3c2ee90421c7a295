"""docs/own-tracker.md: the tracker there holds the contract, at a stand-in that has the schema of Linear."""

from __future__ import annotations

import shlex
import sys
from configparser import ConfigParser
from types import ModuleType

import pytest
from flask import Flask

from flask_grpcweb_scm.scm.trackers import registry
from flask_grpcweb_scm.trackers import Tracker
from tests.documents import PAGES, block
from tests.scm.trackers import linear_app
from tests.scm.trackers.test_registry import app, install, vendor

__all__ = ["app", "install", "vendor"]

PAGE = PAGES["own-tracker"]


def module_of(name: str, code: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


sys.modules["linear_app"] = linear_app
Linear = module_of("acme_linear", block(PAGE, "python", "class Linear(Tracker)")).Linear
TestLinear = module_of("test_acme_linear", block(PAGE, "python", "class TestLinear(TrackerContract)")).TestLinear
pytestmark = pytest.mark.needs("time")


def test_the_table_has_the_methods_that_are_needed() -> None:
    table = PAGE.read_text().partition("<!-- methods -->")[2].partition("<!-- /methods -->")[0]
    needed = {line.partition("`")[2].partition("(")[0] for line in table.splitlines() if line.startswith("| `")}
    assert needed == Tracker.__abstractmethods__


def test_the_package_is_one_of_the_group() -> None:
    project = ConfigParser()
    project.read_string(block(PAGE, "toml", "entry-points"))
    assert dict(project[f'project.entry-points."{registry.GROUP}"']) == {Linear.kind: '"acme_linear:Linear"'}


def test_the_commands(app: Flask) -> None:
    lines = [shlex.split(line, comments=True)[1:] for line in block(PAGE, "sh", "flask scm trackers").splitlines()]
    results = [app.test_cli_runner().invoke(args=line) for line in lines]
    listed, added, fields = results
    assert "linear  team, the entry point 'linear = acme_linear:Linear' of acme_linear 1.0" in listed.stdout
    assert (added.exit_code, added.stderr) == (0, "")
    # There is no Linear here, and what it has is in the class.
    assert fields.stdout.splitlines()[0] == "team  Team, key, default ENG"
