"""Our own trackers hold the contract of the test kit, each at a stand-in for its vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.trackers import jira
from flask_grpcweb_scm.scm.trackers.azure_devops import AzureDevOps
from flask_grpcweb_scm.scm.trackers.github import GitHub, GitHubEnterprise
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab
from flask_grpcweb_scm.scm.trackers.jira import JiraCloud, JiraDataCenter
from flask_grpcweb_scm.scm.trackers.roundup import Roundup
from flask_grpcweb_scm.testing.trackers import TrackerContract
from flask_grpcweb_scm.trackers import Credential
from tests.scm.trackers.vendor_apps import azure_app, github_app, gitlab_app, jira_app, roundup_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

pytestmark = pytest.mark.needs("time")


class TestGitHub(TrackerContract):
    tracker = GitHub
    fields = {"repo": "o/r", "assignees": "ann", "labels": "bug, ui"}
    foreign_keys = ["o#7", "../..#7", "o/r#x", "7"]
    complaint = {"message": "Not today."}, "Not today."
    markup = ("@team", "<b>", "**x", "[x](y)", "\n/close", "<!--", "fixes #1")

    def vendor_app(self) -> WSGIApplication:
        return github_app()


class TestGitHubEnterprise(TestGitHub):
    tracker = GitHubEnterprise
    base_path = "/api/v3"
    # Its responses are read by the same code.
    test_no_value_of_a_response_is_believed = None  # type: ignore[assignment]

    def vendor_app(self) -> WSGIApplication:
        return github_app(self.base_path)


class TestGitLab(TrackerContract):
    tracker = GitLab
    fields = {"project": "group/p", "labels": "bug, ui"}
    foreign_keys = ["p#7", "localhost:group/p", "group/p#x"]
    complaint = {"message": {"error": "Not today."}}, "Not today."
    markup = TestGitHub.markup

    def vendor_app(self) -> WSGIApplication:
        return gitlab_app()


class TestAzureDevOps(TrackerContract):
    tracker = AzureDevOps
    base_path = "/acme"
    fields = {"project": "My Project", "work_item_type": "Bug"}
    foreign_keys = ["7x", "ABC-7", "7/../8"]
    complaint = {"message": "Not today."}, "Not today."
    markup = ("<b>", "<script")

    def vendor_app(self) -> WSGIApplication:
        return azure_app()


class TestJiraDataCenter(TrackerContract):
    tracker = JiraDataCenter
    version = "2"
    base_path = "/jira"
    fields = {"project": "ABC", "issuetype": "Bug", "labels": "a, b", "Severity": "High"}
    foreign_keys = ["ABC", "7", "ABC-7/x"]
    complaint = {"errorMessages": ["Not today."], "errors": {}}, "Not today."
    markup = ("{code}", "[~ann]", "!x.png!")

    @pytest.fixture(autouse=True)
    def _new_process(self) -> None:
        jira.known_fields = LruCache(2**20)

    def vendor_app(self) -> WSGIApplication:
        return jira_app(self.version)


class TestJiraCloud(TestJiraDataCenter):
    tracker = JiraCloud
    version = "3"
    markup = ()  # texts are nodes of a document


class TestRoundup(TrackerContract):
    tracker = Roundup
    base_path = "/tracker"
    fields = {"priority": "bug"}
    foreign_keys = ["7", "msg7", "issue7/../8"]
    credential = Credential(user="ann", password="s3cret-passw0rd")
    complaint = {"error": {"status": 400, "msg": "Not today."}}, "Not today."

    def vendor_app(self) -> WSGIApplication:
        return roundup_app()
