"""A second real tracker, end to end: a Gitea on loopback, by a tracker of one's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import pytest
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.testing.trackers import TrackerContract, Vendor
from flask_grpcweb_scm.trackers import Credential
from tests.grpcweb import Answer, call
from tests.scm.support import SERVICE, Scm, make_app
from tests.scm.trackers.gitea import PROGRAM, Gitea, GiteaServer, serve_gitea
from tests.scm.trackers.test_registry import Install, install

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["install"]

pytestmark = pytest.mark.needs("Gitea")

if not PROGRAM.exists():
    # Not for CI either: it takes minutes of a compiler.
    pytest.skip(f"there is no Gitea at {PROGRAM}; make trackers builds one", allow_module_level=True)


@pytest.fixture(scope="module")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    with serve_gitea(tmp_path_factory.mktemp("gitea")) as gitea:
        yield gitea


class TestGitea(TrackerContract):
    tracker = Gitea
    fields: ClassVar = {"repo": "bot/pier"}
    foreign_keys: ClassVar = ["o#7", "../..#7", "o/r#x", "7"]
    complaint: ClassVar = ({"message": "Not today.", "url": "https://gitea.example/api/swagger"}, "Not today.")
    markup: ClassVar = ("@bot", "<b>", "**x", "[x](y)", "<!--")

    @pytest.fixture(autouse=True)
    def _server(self, gitea: GiteaServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gitea = gitea
        monkeypatch.setattr(type(self), "credential", Credential(token=gitea.token))

    def vendor_app(self) -> WSGIApplication:
        return self.gitea

    def test_people_read_what_was_sent(self, at: Gitea) -> None:
        text = "@bot <b>x</b> #1 fixes #1\n/close\n<!-- hidden -->\n**bold** [a](https://evil.example) `code`"
        key = at.create(self.issue(title="A <b>title</b>", description=text)).key
        number = key.partition("#")[2]
        body = self.gitea.call("GET", f"/repos/bot/pier/issues/{number}")["body"]
        page = self.gitea.call("POST", "/markdown", Text=body, Mode="comment", Context="bot/pier")
        assert "<b>" not in page
        assert 'href="/bot' not in page


@pytest.fixture
def app(database: str, gitea: GiteaServer) -> Iterator[Flask]:
    app = make_app(database, GRPC_SCM_CREDENTIALS={"gitea": gitea.token}, GRPC_SCM_ALLOWED_HOSTS="127.0.0.1")
    yield app
    with app.app_context():
        db.engine.dispose()


def create(app: Flask, key: str, title: str) -> Answer:
    request = scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1, title=title, description="x")
    return call(app.test_client(), SERVICE + "CreateExternalIssue", request, headers={"idempotency-key": key})


def test_from_the_entry_point_to_the_issue_and_back(
    app: Flask, scm: Scm, gitea: GiteaServer, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme_gitea", "from tests.scm.trackers.gitea import Gitea", "gitea = acme_gitea:Gitea")
    monkeypatch.setattr(Gitea, "search_delay", 0)
    run, title = app.test_cli_runner().invoke, f"Lost {uuid.uuid4().hex}"
    with Vendor(gitea).serving() as vendor:
        for command in (
            "add-organization demo",
            "add-project demo web",
            "add-group demo web --title KeyError",
            f"add-integration demo gitea --name gitea --credentials gitea --base-url {vendor.url} --set repo=bot/pier",
        ):
            result = run(args=["scm", *command.split()])
            assert (result.exit_code, result.stderr) == (0, ""), result.output
        vendor.fail(lambda run: [run(), None][1])  # type: ignore[func-returns-value]
        assert create(app, "k1", title).code == 14
        vendor.forget()
        [issue] = create(app, "k1", title).messages(scm_pb2.ExternalIssue)
        listed = gitea.call("GET", f"/repos/bot/pier/issues?q={title[5:]}&state=all")
        assert [f"bot/pier#{row['number']}" for row in listed] == [issue.key]
        ids = {"organization_id": 1, "integration_id": 1}
        [found] = scm("SearchExternalIssues", **ids, query=title).issues
        assert (found.key, found.status, found.web_url) == (issue.key, "open", issue.web_url)
        number = gitea.call("POST", "/repos/bot/pier/issues", title=f"By hand {title}")["number"]
        linked = scm(
            "LinkExternalIssue", group_id=1, integration_id=1, external_key=f"{vendor.url}/bot/pier/issues/{number}"
        )
        assert (linked.key, linked.title) == (f"bot/pier#{number}", f"By hand {title}")
        [comment] = gitea.call("GET", f"/repos/bot/pier/issues/{number}/comments")
        assert comment["body"] == "Linked to error group 1: KeyError"
        gitea.call("PATCH", f"/repos/bot/pier/issues/{number}", state="closed")
        again = scm("SearchExternalIssues", **ids, query=f"By hand {title}").issues
        assert [each.status for each in again] == ["closed"]
