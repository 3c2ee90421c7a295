"""Trackers of other packages: entry points, what is wrong with them, and integrations that use them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured
from flask_grpcweb_scm.scm.trackers import registry
from flask_grpcweb_scm.scm.trackers.github import GitHub
from flask_grpcweb_scm.testing.trackers import Vendor
from tests.documents import PAGES, block
from tests.grpcweb import Answer, call
from tests.scm.support import SERVICE, Scm, make_app
from tests.scm.trackers.linear_app import Linear, linear_app
from tests.tables import check_rows

TOKEN = "lin_api_s3cret"
COMPLETE = block(PAGES["own-tracker"], "python", "class Linear(Tracker)")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put packages on the path, each with a module and entry points."""
    registry._entry_points.cache_clear()

    def install(package: str, code: str, *entry_points: str) -> None:
        folder = tmp_path / package
        about = folder / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code.replace("{more}", ""))
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *entry_points, ""]))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, package, raising=False)

    yield install
    registry._entry_points.cache_clear()
    for package in [path.name for path in tmp_path.iterdir()]:
        sys.modules.pop(package, None)


def test_a_tracker_of_another_package(install: Install) -> None:
    install("acme_linear", COMPLETE, "linear = acme_linear:Linear")
    assert registry.has_tracker("linear")
    assert "acme_linear" not in sys.modules
    assert registry.tracker_class("linear").__module__ == "acme_linear"
    assert registry.tracker_class("github") is GitHub
    *_, last = registry.list_trackers()
    assert last[:2] == ("linear", "the entry point 'linear = acme_linear:Linear' of acme_linear 1.0")


def test_one_that_is_found_twice_is_one(install: Install) -> None:
    install("acme_linear", COMPLETE, "linear = acme_linear:Linear")
    install("acme_linear_again", COMPLETE, "linear = acme_linear:Linear")
    assert registry.tracker_class("linear").__name__ == "Linear"


SMALL = """
from flask_grpcweb_scm.trackers import Tracker
class Own(Tracker):
    kind = "own"
    def create(self, issue): ...
    def find(self, issue): ...
    def key_of(self, text): ...
    def read(self, key): ...
    def search(self, text, fields): ...
    def comment(self, key, text): ...
    @classmethod
    def explain(cls, error): ...
    {more}
"""


def test_what_is_wrong_with_an_entry_point_names_it_and_says_what_helps(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    number = iter(range(99))

    def check(_: str, code: str, text: str, provider: str = "own", entry: str = "{provider} = {package}:Own") -> None:
        registry._entry_points.cache_clear()
        package = f"acme_{next(number)}"
        install(package, code, entry.format(provider=provider, package=package))
        with pytest.raises(ProviderMisconfigured) as caught:
            registry.tracker_class(provider)
        found = {kind.provider: kind.problem for kind in registry.list_trackers()}
        # The next row has the same name.
        (tmp_path / package / f"{package}-1.0.dist-info" / "entry_points.txt").write_text("")
        assert found[provider] == caught.value.private
        told = str(caught.value)
        assert told.startswith(f"the entry point '{entry.format(provider=provider, package=package)}' of {package} 1.0")
        assert text in told
        assert registry.has_tracker(provider)

    with caplog.at_level(logging.CRITICAL):
        check_rows(
            check,
            [
                ("no module", "", "cannot be loaded (ModuleNotFoundError); the log says", "own", "own = nowhere:Own"),
                ("no such name", "", "cannot be loaded (AttributeError); the log says why: repair or reinstall"),
                ("no Python", "class", "cannot be loaded (SyntaxError)"),
                ("anything", "raise RuntimeError('s3cret')", "cannot be loaded (RuntimeError)"),
                ("no reference", SMALL, "cannot be loaded", "own", "own = x y z"),
                ("no class", "Own = 7", "7 is no subclass of flask_grpcweb_scm.trackers.Tracker"),
                ("another class", "class Own: ...", "is no subclass of flask_grpcweb_scm.trackers.Tracker"),
                ("lacks methods", SMALL.replace("def find(", "def f(").replace("def read(", "def r("), "lacks find,"),
                ("no kind", SMALL.replace('kind = "own"', ""), "Own.kind must be 'own', the name of the en"),
                ("another kind", SMALL.replace('"own"', '"github"'), "Own.kind must be 'own', the name of the entry"),
                ("no mapping", SMALL.replace("{more}", 'required = ("team",)'), "Own.required must be a mapping"),
                ("no pattern", SMALL.replace("{more}", 'required = {"team": "["}'), "Own.required['team'] is no reg"),
                ("a setting", SMALL.replace("{more}", 'required = {"projects": ".*"}'), "a field 'projects', which is"),
                ("no such project", SMALL.replace("{more}", 'project_field = "team"'), "is 'team', which is none of"),
                ("ours", SMALL.replace('"own"', '"github"'), "has the name of a tracker of flask_grpcweb", "github"),
            ],
        )  # fmt: skip


def test_two_of_one_name_are_both_named(install: Install) -> None:
    install("acme_one", SMALL, "own = acme_one:Own")
    install("acme_two", SMALL, "own = acme_two:Own")
    with pytest.raises(ProviderMisconfigured, match=r"'own = acme_.* and 'own = acme_.* have the same name; uninstall"):
        registry.tracker_class("own")


def test_one_that_is_missing(install: Install) -> None:
    install("acme_linear", COMPLETE, "linear = acme_linear:Linear")
    text = r"no tracker 'liner'; did you mean 'linear'.*entry point 'liner' in the group flask_grpcweb_scm\.trackers"
    with pytest.raises(ProviderMisconfigured, match=text):
        registry.tracker_class("liner")


# Integrations


@pytest.fixture
def vendor(install: Install) -> Iterator[tuple[Vendor, Linear]]:
    install("acme_linear", COMPLETE, "linear = acme_linear:Linear")
    app = linear_app(TOKEN)
    with Vendor(app).serving() as vendor:
        yield vendor, app.config["LINEAR"]


@pytest.fixture
def app(tmp_path: Path, vendor: tuple[Vendor, Linear]) -> Iterator[Flask]:
    config = {"GRPC_SCM_CREDENTIALS": {"linear": TOKEN}, "GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1"}
    app = make_app(f"sqlite:///{tmp_path}/scm.db", **config)
    for command in ("init-db", "add-organization demo", "add-project demo web", "add-group demo web --title KeyError"):
        assert app.test_cli_runner().invoke(args=["scm", *command.split()]).exit_code == 0
    yield app
    with app.app_context():
        db.engine.dispose()


def add_integration(app: Flask, url: str, *more: str) -> Any:
    args = [
        "scm",
        "add-integration",
        "demo",
        "linear",
        "--name",
        "linear",
        "--credentials",
        "linear",
        "--base-url",
        url,
    ]
    return app.test_cli_runner().invoke(args=[*args, *more])


def create(app: Flask, **fields: Any) -> Answer:
    request = scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1, **fields)
    return call(app.test_client(), SERVICE + "CreateExternalIssue", request)


def test_an_integration_creates_finds_links_and_searches(app: Flask, scm: Scm, vendor: tuple[Vendor, Linear]) -> None:
    server, linear = vendor
    result = add_integration(app, server.url, "--set", "team=ENG")
    assert (result.exit_code, result.stderr) == (0, "")
    ids = {"organization_id": 1, "integration_id": 1}
    [integration] = scm("ListIntegrations", organization_id=1).integrations
    assert (integration.provider, integration.has_tracker) == ("linear", True)
    fields = {field.name: field for field in scm("DescribeTrackerFields", **ids).fields}
    assert [*fields] == ["team", "assignee", "priority"]
    assert (fields["team"].default_value, [*fields["priority"].allowed_values]) == ("ENG", ["1", "2", "3", "4"])
    answer = create(app, title="KeyError", description="@all", metadata={"priority": "1"})
    [created] = answer.messages(scm_pb2.ExternalIssue)
    assert (created.key, created.web_url) == ("ENG-1", "https://linear.app/acme/issue/ENG-1/bug")
    assert linear.stored[0]["priority"] == 1
    [found] = scm("SearchExternalIssues", **ids, query="keyerror").issues
    assert (found.key, found.title, found.status) == ("ENG-1", "KeyError", "Backlog")
    linked = scm("LinkExternalIssue", group_id=1, integration_id=1, external_key=created.web_url)
    assert linked.id == created.id
    assert linear.comments == [("ENG-1", "Linked to error group 1: KeyError")]
    for metadata, text in [
        ({"team": "eng"}, "metadata.team is not one that linear has"),
        ({"team": "OPS"}, "metadata.team is none that linear has, or shows to this account, got 'OPS'"),
        ({"assignee": "nobody@acme.example"}, "metadata.assignee is none that linear has"),
        ({"priority": "high"}, "metadata.priority is none that linear has"),
    ]:
        refused = create(app, title="x", metadata=metadata)
        assert (refused.code, text in refused.message) == (3, True), refused.message


def test_the_command_says_what_cannot_work(app: Flask, install: Install, vendor: tuple[Vendor, Linear]) -> None:
    result = add_integration(app, vendor[0].url, "--set", "team=eng")
    assert "Its tracker cannot be used so far: team is not one that linear has, got 'eng'" in result.stderr
    registry._entry_points.cache_clear()
    install("acme_second", COMPLETE, "linear = acme_second:Linear")
    result = add_integration(app, vendor[0].url, "--set", "team=ENG")
    assert "have the same name; uninstall all but one" in result.stderr


def test_callers_are_told_too(app: Flask, scm: Scm, install: Install, vendor: tuple[Vendor, Linear]) -> None:
    add_integration(app, vendor[0].url, "--set", "team=ENG")
    registry._entry_points.cache_clear()
    install("acme_second", COMPLETE, "linear = acme_second:Linear")
    ids = {"organization_id": 1, "integration_id": 1}
    error = scm.error(StatusCode.FAILED_PRECONDITION, "CreateExternalIssue", **ids, title="x")
    assert "the entry points 'linear = acme_" in error.message
    assert scm("ListIntegrations", organization_id=1).integrations[0].has_tracker
