"""The trackers, each against what its vendor documents."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from werkzeug import Response

from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.providers import (
    Credential,
    CredentialRefused,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.trackers import azure_devops, jira
from flask_grpcweb_scm.scm.trackers.azure_devops import AzureDevOps
from flask_grpcweb_scm.scm.trackers.github import GitHub, GitHubEnterprise
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab
from flask_grpcweb_scm.scm.trackers.issues import FoundIssue, TrackerField, TrackerIssue
from flask_grpcweb_scm.scm.trackers.jira import JiraCloud, JiraDataCenter
from flask_grpcweb_scm.scm.trackers.roundup import Roundup
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.scm.trackers.documented import BODY, MARKER, SECRET, DocumentedTracker, ScriptedVendor, Step, vendor
from tests.tables import check_rows

__all__ = ["vendor"]

ESCAPED = BODY.replace("<b>", "&lt;b&gt;").replace("</b>", "&lt;/b&gt;")
HTML = ESCAPED.replace("\n", "<br>")


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode()


GITHUB_ISSUE = {"number": 7, "html_url": "https://github.com/o/r/issues/7", "body": BODY, "title": "Bug ü"}
ELSEWHERE = {**GITHUB_ISSUE, "repository_url": "https://api.github.com/repos/other/r"}
OTHER = {"number": 6, "html_url": "https://github.com/o/r/issues/6", "body": None}


class TestGitHub(DocumentedTracker):
    tracker = GitHub
    fields = {"repo": "o/r", "assignees": "ann, bob", "labels": "bug,  ui , "}
    created = TrackerIssue("o/r#7", "https://github.com/o/r/issues/7")
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    create = [
        Step(
            "POST",
            "/repos/o/r/issues",
            GITHUB_ISSUE,
            status=201,
            body={"title": "Bug ü", "body": ESCAPED, "assignees": ["ann", "bob"], "labels": ["bug", "ui"]},
        )
    ]
    query = {"state": "all", "sort": "created", "direction": "desc", "since": "2026-01-02T03:04:05Z", "per_page": "100"}
    find = [
        Step("GET", "/repos/o/r/issues", [OTHER] * 100, query={**query, "page": "1"}),
        Step("GET", "/repos/o/r/issues", [OTHER, GITHUB_ISSUE], query={**query, "page": "2"}),
    ]
    find_nothing = [Step("GET", "/repos/o/r/issues", [OTHER])]
    comment = [Step("POST", "/repos/o/r/issues/7/comments", {"id": 1}, status=201, body={"body": "Linked &lt;b&gt;."})]
    read = Step("GET", "/repos/o/r/issues/7", {**GITHUB_ISSUE, "state": "open", "assignee": {"login": "ann"}})
    found = FoundIssue("", "", "Bug ü", "open", "ann")
    search = [
        Step(
            "GET",
            "/search/issues",
            {"items": [{**read.answer, "repository_url": "https://api.github.com/repos/O/r"}, ELSEWHERE]},
            query={"q": '"x OR \'1" repo:o/r is:issue', "per_page": "20"},
        )
    ]
    pages = ["/o/r/issues/7", "/o/r/issues/7/", "/o/r/issues/7?x=1#issuecomment-1", "/o%2Fr/issues/7"]
    foreign_keys = ["o#7", "../..#7", "o/r#x", "o/r/x#7", "o/..#7", "7"]
    complaint = (
        {
            "message": "Validation Failed",
            "errors": [
                {"resource": "Issue", "field": "title", "code": "missing_field"},
                {"resource": "Issue", "field": "assignees", "code": "invalid", "message": "nobody"},
                {"resource": "Issue", "field": "body", "code": "custom", "message": "too long"},
                "and a text",
            ],
        },
        "Validation Failed",
        {"title": "missing_field", "metadata.assignees": "nobody", "description": "too long"},
    )

    def test_a_milestone_by_number_or_title(self, at: Tracker, vendor: ScriptedVendor) -> None:
        rows = [{"number": 3, "title": "Next"}]
        for given, status, number in [("4", 200, 4), ("next", 200, 3), ("Never", 200, None), ("next", 500, None)]:
            vendor.lookups["GET", self.base_path + "/repos/o/r/milestones"] = Response(json.dumps(rows), status)
            vendor.requests.clear()
            vendor.answer(GITHUB_ISSUE, status=201)
            issue = self.issue(fields={"repo": "o/r", "milestone": given, "type": "Bug"})
            if number:
                at.create(issue)
                sent = vendor.requests[0].get_json()
                assert (sent["milestone"], sent["type"]) == (number, "Bug")
            else:
                with pytest.raises(ProviderError) as caught:
                    at.create(issue)
                assert not caught.value.may_have_acted
                assert vendor.requests == []
                assert (list(caught.value.fields) == ["metadata.milestone"]) is (status == 200)

    def test_what_is_left_out_without_a_word_is_told(
        self, at: Tracker, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
    ) -> None:
        issue = self.issue(fields={"repo": "o/r", "labels": "bug", "assignees": "ann", "type": "Bug"})
        for shown, told in [
            ({"labels": [], "assignees": None, "type": {"name": "Bug"}}, ["left out assignees, labels"]),
            ({"labels": [{"name": "bug"}], "assignees": [{"login": "ann"}]}, []),
            ({"labels": 7, "assignees": "x"}, []),
        ]:
            caplog.clear()
            vendor.answer({**GITHUB_ISSUE, **shown}, status=201)
            assert at.create(issue).key == "o/r#7"
            assert [text for text in told if text in caplog.text] == told
            assert ("left out" in caplog.text) is bool(told)

    def test_a_milestone_is_looked_for_on_all_pages(self, at: Tracker, vendor: ScriptedVendor) -> None:
        pages = [[{"number": 100 * page + i, "title": f"M{100 * page + i}"} for i in range(100)] for page in range(3)]
        vendor.answer(*pages[:2], [{"number": 7, "title": "Last"}], GITHUB_ISSUE)
        at.create(self.issue(fields={"repo": "o/r", "milestone": "last"}))
        assert [request.args.get("page") for request in vendor.requests] == ["1", "2", "3", None]
        assert vendor.requests[-1].get_json()["milestone"] == 7

    def test_a_search_for_signs_alone_is_one_for_all(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({"items": []})
        at.search('"" \\', {"repo": "o/r"})
        assert vendor.requests[0].args["q"] == "repo:o/r is:issue"

    def test_the_port_of_an_address_may_be_the_default_one(self) -> None:
        at = self.tracker("https://code.example:443", Credential(token=SECRET), deadline=time.monotonic() + 5)
        for port in ("", ":443"):
            assert at.key_of(f"HTTPS://Code.example{port}/o/r/issues/7") == "o/r#7"

    def test_what_people_cannot_follow_is_no_url(self, at: Tracker, vendor: ScriptedVendor) -> None:
        for url in ("javascript:alert(1)", "", "https://", "https://a b"):
            vendor.answer({**GITHUB_ISSUE, "html_url": url})
            with pytest.raises(ProviderUnavailable):
                at.create(self.issue())

    def test_what_is_too_much_to_look_through_is_not_taken_for_nothing(
        self, at: Tracker, vendor: ScriptedVendor
    ) -> None:
        vendor.answer([OTHER] * 100)
        with pytest.raises(ProviderUnavailable, match="o/r has more than 2000 newer issues"):
            at.find(self.issue())
        assert len(vendor.requests) == 20


class TestGitHubEnterprise(TestGitHub):
    tracker = GitHubEnterprise
    base_path = "/api/v3"

    def test_the_api_is_below_the_host(self) -> None:
        assert GitHubEnterprise.api_url("https://ghe.example") == "https://ghe.example/api/v3"
        assert GitHubEnterprise.api_url("https://ghe.example/api/v3") == "https://ghe.example/api/v3"

    def test_there_is_no_default_host(self) -> None:
        with pytest.raises(ProviderMisconfigured, match="base_url"):
            GitHubEnterprise("", self.credential, deadline=time.monotonic() + 1)


GITLAB_ISSUE = {"id": 99, "iid": 7, "web_url": "https://gitlab.example/group/p/-/issues/7", "description": BODY}


class TestGitLab(DocumentedTracker):
    tracker = GitLab
    fields = {"project": "group/p", "labels": "bug, ui"}
    created = TrackerIssue("localhost:{port}:group/p#7", "https://gitlab.example/group/p/-/issues/7")
    create = [
        Step(
            "POST",
            "/api/v4/projects/group/p/issues",
            GITLAB_ISSUE,
            status=201,
            body={"title": "Bug ü", "description": ESCAPED.replace("\n&lt;", "  \n&lt;"), "labels": "bug,ui"},
        )
    ]
    find = [
        Step(
            "GET",
            "/api/v4/projects/group/p/issues",
            [GITLAB_ISSUE],
            query={"search": MARKER, "in": "description", "scope": "all"},
        )
    ]
    find_nothing = [Step("GET", "/api/v4/projects/group/p/issues", [])]
    comment = [
        Step(
            "POST",
            "/api/v4/projects/group/p/issues/7/notes",
            {"id": 1},
            status=201,
            body={"body": "Linked &lt;b&gt;."},
        )
    ]
    read = Step(
        "GET",
        "/api/v4/projects/group/p/issues/7",
        {**GITLAB_ISSUE, "title": "Bug ü", "state": "opened", "assignee": {"username": "ann", "name": "Ann"}},
    )
    found = FoundIssue("", "", "Bug ü", "opened", "ann")
    search = [
        Step(
            "GET",
            "/api/v4/projects/group/p/issues",
            [read.answer],
            query={"search": "x\" OR '1", "in": "title,description", "scope": "all", "per_page": "20"},
        )
    ]
    pages = [
        *("/group/p/-/issues/7", "/group/p/issues/7/", "/group/p/-/issues/7?x#note_1"),
        *("/group/p/-/work_items/7", "/group/p/-/issues/incident/7", "/group/p/-/issues/7/designs"),
    ]
    foreign_keys = ["p#7", "localhost:group/p", "localhost:group/p#x", "localhost:..#7", "localhost:../..#7"]
    complaint = (
        {"message": {"title": ["can't be blank", "is odd"], "weight": ["is not a number"]}},
        "title can't be blank; is odd; metadata.weight is not a number",
        {"title": "can't be blank; is odd", "metadata.weight": "is not a number"},
    )

    def test_people_and_milestones_by_name(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.lookups["GET", "/api/v4/users"] = Response('[{"id": 5, "username": "Ann"}]')
        vendor.lookups["GET", "/api/v4/projects/group/p/milestones"] = Response('[{"id": 8, "title": "Next"}]')
        given = {"project": "group/p", "milestone": "next", "confidential": "TRUE", "due_date": "2030-01-31"}
        vendor.answer(GITLAB_ISSUE, status=201)
        at.create(self.issue(fields={**given, "assignees": "@ann, ann"}))
        sent = vendor.requests[0].get_json()
        del sent["title"], sent["description"]
        assert sent == {"assignee_ids": [5, 5], "milestone_id": 8, "confidential": True, "due_date": "2030-01-31"}
        for name in ("assignees", "milestone"):
            with pytest.raises(ProviderRejected, match=f"metadata.{name} is none that gitlab has") as caught:
                at.create(self.issue(fields={**given, name: "bob"}))
            assert list(caught.value.fields) == [f"metadata.{name}"]
        assert len(vendor.requests) == 1

    def test_what_is_to_be_confidential_is_not_public(self, at: Tracker, vendor: ScriptedVendor) -> None:
        for value in ("yes", "1", "true false"):
            given = {"project": "group/p", "confidential": value}
            with pytest.raises(ProviderRejected, match="which are true, false") as caught:
                at.check(given)
            assert list(caught.value.fields) == ["metadata.confidential"]
            with pytest.raises(ProviderMisconfigured, match="confidential is none that gitlab has"):
                at.check_defaults(given)
        for value in ("", " ", "true", " FALSE "):
            at.check({"project": "group/p", "confidential": value})

    def test_a_project_is_one_segment(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(*self.create)
        at.create(self.issue())
        assert vendor.requests[0].environ["REQUEST_URI"] == "/api/v4/projects/group%2Fp/issues"

    def test_a_project_by_number_is_named_in_the_key(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({**GITLAB_ISSUE, "references": {"full": "group/p#7"}})
        assert at.create(self.issue(fields={"project": "42"})) == self.expected(vendor)
        assert vendor.requests[0].path == "/api/v4/projects/42/issues"

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            ({"message": "404 Project Not Found"}, "404 Project Not Found"),
            ({"error": "title is missing"}, "title is"),
            ({"message": {"error": "Recognized as spam."}}, "with 400: Recognized as spam.; change the text"),
            (
                {"message": {"base": ["Labels can't be blank"], "milestone": {"title": ["is too short"]}}},
                "with 400: Labels can't be blank; metadata.milestone title is too short$",
            ),
            ({"message": {"x" * 10**6: {"y" * 10**6: ["z" * 10**6] * 5}}}, "with 400: metadata.x*"),
        ],
    )
    def test_other_ways_to_complain(self, at: Tracker, vendor: ScriptedVendor, answer: Any, text: str) -> None:
        vendor.answer(answer, status=400)
        with pytest.raises(Exception, match=text):
            at.create(self.issue())


class TestAzureDevOps(DocumentedTracker):
    tracker = AzureDevOps
    base_path = "/acme"
    fields = {"project": "My Project", "work_item_type": "Bug"}
    created = TrackerIssue("7", "http://localhost:{port}/acme/My%20Project/_workitems/edit/7")
    authorization = basic("")
    patch = "application/json-patch+json"
    create = [
        Step(
            "POST",
            "/My Project/_apis/wit/workitems/$Bug",
            {"id": 7, "rev": 1},
            query={"api-version": "7.1"},
            content_type=patch,
            body=[
                {"op": "add", "path": "/fields/System.Title", "value": "Bug ü"},
                {"op": "add", "path": "/fields/System.Description", "value": HTML},
            ],
        )
    ]
    find = [
        Step(
            "POST",
            "/My Project/_apis/wit/wiql",
            {"workItems": [{"id": 7}]},
            query={"api-version": "7.1"},
            body={
                "query": "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project"
                f" AND [System.Description] CONTAINS '{MARKER}'"
            },
        )
    ]
    find_nothing = [Step("POST", "/My Project/_apis/wit/wiql", {"workItems": []})]
    comment = [
        Step(
            "PATCH",
            "/_apis/wit/workitems/7",
            {"id": 7},
            query={"api-version": "7.1"},
            content_type=patch,
            body=[{"op": "add", "path": "/fields/System.History", "value": "Linked &lt;b&gt;."}],
        )
    ]
    read = Step(
        "GET",
        "/_apis/wit/workitems/7",
        {
            "id": 7,
            "fields": {
                "System.Title": "Bug ü",
                "System.State": "Active",
                "System.AssignedTo": {"displayName": "Ann"},
                "System.TeamProject": "My Project",
            },
        },
        query={"api-version": "7.1", "fields": "System.Title,System.State,System.AssignedTo,System.TeamProject"},
    )
    found = FoundIssue("", "", "Bug ü", "Active", "Ann")
    search = [
        Step(
            "POST",
            "/My Project/_apis/wit/wiql",
            {"workItems": [{"id": 7}]},
            query={"api-version": "7.1", "$top": "20"},
            body={
                "query": "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project"
                " AND [System.Title] CONTAINS 'x\" OR ''1' ORDER BY [System.ChangedDate] DESC"
            },
        ),
        Step("GET", "/_apis/wit/workitems", {"value": [read.answer]}, query={**read.query, "ids": "7"}),
    ]
    pages = [
        *("/acme/My%20Project/_workitems/edit/7", "/acme/other/_workitems/edit/7/", "/ACME/x/_workItems/edit/7"),
        *("/acme/_workitems/edit/7", "/acme/x/_boards/board/t/Stories?workitem=7", "/acme/x/_workitems?id=7&_a=edit"),
    ]
    foreign_keys = ["7x", "ABC-7", "7/../8", "{url}/acme/7", "{url}/acme/x/_boards/board/t/Team/Stories?workitem=x"]
    complaint = ({"$id": "1", "message": "TF401347: no such type", "typeKey": "X"}, "TF401347: no such type", {})

    @pytest.fixture(autouse=True)
    def _new_process(self) -> None:
        azure_devops.known_fields = LruCache(2**20)

    def test_an_issue_is_of_the_type_issue_unless_told_otherwise(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({"id": 7})
        at.create(self.issue(fields={"project": "p"}))
        assert vendor.requests[0].path == "/acme/p/_apis/wit/workitems/$Issue"

    def test_fields_by_reference_name(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({"id": 7})
        given = {
            "project": "p", "Custom.Severity": "1 - High", "System.Tags": "a; b",
            "Microsoft.VSTS.TCM.ReproSteps": "<b>",
            "system.teamproject": "other", "System.Title": "x", "note": "x", "Custom.Empty": "", "a/b.c": "x",
        }  # fmt: skip
        at.create(self.issue(fields=given))
        sent = {row["path"]: row["value"] for row in vendor.requests[0].get_json()}
        assert {path: value for path, value in sent.items() if path not in ("/fields/System.Description",)} == {
            "/fields/System.Title": "Bug ü",
            "/fields/Custom.Severity": "1 - High",
            "/fields/System.Tags": "a; b",
            "/fields/Microsoft.VSTS.TCM.ReproSteps": "&lt;b&gt;",
        }

    def test_what_is_required_is_described_first(self, at: Tracker, vendor: ScriptedVendor) -> None:
        rows = [
            {"referenceName": "System.Title", "name": "Title", "alwaysRequired": True},
            {"referenceName": "System.Tags", "name": "Tags", "alwaysRequired": False, "allowedValues": []},
            {"referenceName": "Custom.Severity", "name": "Severity", "alwaysRequired": True, "allowedValues": ["1", 2]},
            {"referenceName": "System.State", "name": "State", "alwaysRequired": True, "defaultValue": "New"},
            # Of every type, as Azure DevOps describes it; it follows from the path.
            {"referenceName": "System.IterationId", "name": "Iteration ID", "alwaysRequired": True},
            {"referenceName": "System.AreaLevel1", "name": "Area Level 1", "alwaysRequired": False},
            {"referenceName": "System.RemoteLinkCount", "name": "Remote Link Count", "alwaysRequired": False},
            {"referenceName": "System.ChangedDate", "name": "Changed Date", "alwaysRequired": False},
            {"referenceName": "System.Rev", "name": "Rev", "alwaysRequired": False},
        ]
        vendor.answer({"count": 4, "value": rows})
        assert [*at.describe({"project": "p", "work_item_type": "Bug"})] == [
            TrackerField("Custom.Severity", "Severity", "option", required=True, allowed=("1", "2")),
            TrackerField("System.Tags", "Tags", "string", allowed=()),
            TrackerField("System.State", "State", "string", allowed=()),
        ]
        assert vendor.requests[0].path == "/acme/p/_apis/wit/workitemtypes/Bug/fields"

    def test_fields_are_read_once_in_a_while(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({"value": [{"referenceName": "Custom.Severity", "name": "Severity"}]})
        first = at.describe({"project": "kept", "work_item_type": "Bug"})
        assert at.describe({"project": "kept", "work_item_type": "Bug"}) == first
        at.describe({"project": "kept"})
        assert [request.path.split("/")[-2] for request in vendor.requests] == ["Bug", "Issue"]

    def test_a_page_to_sign_in_on_is_no_success(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer("<html>", status=203)
        with pytest.raises(CredentialRefused) as caught:
            at.create(self.issue())
        assert not caught.value.may_have_acted


def jira_field(field: str, name: str, kind: str, **more: Any) -> dict[str, Any]:
    schema = {"type": "array", "items": kind[:-2]} if kind.endswith("[]") else {"type": kind}
    if "custom" in more:
        schema["custom"] = "com.atlassian.jira.plugin.system.customfieldtypes:" + more.pop("custom")
    return {"fieldId": field, "key": field, "name": name, "schema": schema, "required": False, **more}


SEVERITIES = [{"id": "11", "value": "High"}, {"id": "12", "value": "Low"}]
JIRA_FIELDS = [
    jira_field("project", "Project", "project", required=True),
    jira_field("summary", "Summary", "string", required=True),
    jira_field("components", "Components", "component[]", allowedValues=[{"id": "21", "name": "Cart"}]),
    jira_field("customfield_1", "Severity", "option", required=True, allowedValues=SEVERITIES, custom="select"),
    jira_field("customfield_2", "Teams", "option[]"),
    jira_field("customfield_3", "Points", "number"),
    jira_field("customfield_4", "Steps", "string", custom="textarea"),
    jira_field("customfield_5", "Place", "option-with-child"),
    jira_field("customfield_6", "Watchers", "user[]"),
    jira_field("customfield_7", "Same", "string"),
    jira_field("customfield_8", "Same", "string"),
    {"fieldId": 7, "name": None, "schema": {}},
    "no field",
]
JIRA_TYPES = [{"id": "1", "name": "Task"}, {"id": "2", "name": "Bug"}]


def jira_lookups(version: str) -> list[Step]:
    path, query = f"/rest/api/{version}/issue/createmeta/ABC/issuetypes", {"startAt": "0", "maxResults": "200"}
    types, fields = ("values", "values") if version == "2" else ("issueTypes", "fields")
    return [
        Step("GET", path, {types: JIRA_TYPES, "total": 2}, query=query),
        Step("GET", f"{path}/2", {fields: JIRA_FIELDS, "total": len(JIRA_FIELDS)}, query=query),
    ]


class TestJiraDataCenter(DocumentedTracker):
    tracker = JiraDataCenter
    lookups = jira_lookups("2")
    version = "2"
    base_path = "/jira"
    fields = {"project": "ABC", "issuetype": "Bug", "labels": "a, b"}
    created = TrackerIssue("ABC-7", "http://localhost:{port}/jira/browse/ABC-7")
    create = [
        Step(
            "POST",
            "/rest/api/2/issue",
            {"id": "1", "key": "ABC-7"},
            status=201,
            body={
                "fields": {
                    "project": {"key": "ABC"},
                    "issuetype": {"name": "Bug"},
                    "summary": "Bug ü",
                    "description": ESCAPED,
                    "labels": ["a", "b"],
                }
            },
        )
    ]
    by_marker = {"jql": f'text ~ "{MARKER}"', "fields": "summary", "maxResults": "1"}
    find = [Step("GET", "/rest/api/2/search", {"issues": [{"key": "ABC-7"}]}, query=by_marker)]
    find_nothing = [Step("GET", "/rest/api/2/search", {"issues": []})]
    comment = [
        Step("POST", "/rest/api/2/issue/ABC-7/comment", {"id": "1"}, status=201, body={"body": "Linked &lt;b&gt;."})
    ]
    read = Step(
        "GET",
        "/rest/api/2/issue/ABC-7",
        {
            "key": "ABC-7",
            "fields": {"summary": "Bug ü", "status": {"name": "To Do"}, "assignee": {"displayName": "Ann"}},
        },
        query={"fields": "summary,status,assignee"},
    )
    found = FoundIssue("", "", "Bug ü", "To Do", "Ann")
    found_by = {
        "jql": 'project = "ABC" AND text ~ "x or 1" ORDER BY updated DESC',
        "fields": "summary,status,assignee",
        "maxResults": "20",
    }
    search = [Step("GET", "/rest/api/2/search", {"issues": [read.answer]}, query=found_by)]
    pages = [
        *("/jira/browse/ABC-7", "/jira/browse/abc-7?x=1", "/jira/projects/ABC/issues/ABC-7?filter=allissues"),
        *("/jira/software/c/projects/ABC/boards/1?selectedIssue=ABC-7", "/jira/software/projects/ABC/issues/ABC-7"),
    ]
    foreign_keys = ["ABC", "7", "ABC-7/x", "../ABC-7", "{url}/jira/boards/1?selectedIssue=ABC", "{url}/jira/x/ABC-7"]
    complaint = (
        {"errorMessages": ["Not today."], "errors": {"summary": "Is required.", "priority": "Is unknown."}},
        "Not today.; title: Is required.; metadata.priority: Is unknown.",
        {"title": "Is required.", "metadata.priority": "Is unknown."},
    )

    @pytest.fixture(autouse=True)
    def _new_process(self) -> None:
        jira.known_fields = LruCache(2**20)
        jira.known_sites = LruCache(2**20)

    def sent_fields(self, at: Tracker, vendor: ScriptedVendor, **fields: str) -> dict[str, Any]:
        """Create an issue, and return what of its fields was sent beside what every issue has."""
        vendor.requests.clear()
        vendor.answer({"id": "1", "key": "ABC-7"}, status=201)
        assert at.create(self.issue(fields={"project": "ABC", "issuetype": "Bug", **fields})).key == "ABC-7"
        [request] = vendor.requests
        return {k: v for k, v in request.get_json()["fields"].items() if k not in jira.OWN_FIELDS}

    def test_fields_are_sent_as_the_project_has_them(self, at: Tracker, vendor: ScriptedVendor) -> None:
        user = at.user_key  # type: ignore[attr-defined]
        steps = document("<b>") if at.kind == "jira" else "&lt;b&gt;"

        def check(_: str, given: dict[str, str], expected: dict[str, Any]) -> None:
            assert self.sent_fields(at, vendor, **given) == expected

        check_rows(
            check,
            [
                ("by id", {"customfield_1": "high"}, {"customfield_1": {"id": "11"}}),
                ("by name", {"severity": "High"}, {"customfield_1": {"id": "11"}}),
                ("the id of a value", {"Severity": "12"}, {"customfield_1": {"id": "12"}}),
                ("a value it has not", {"customfield_1": "Odd"}, {"customfield_1": {"value": "Odd"}}),
                ("objects as they are", {"customfield_1": '{"value": "x"}'}, {"customfield_1": {"value": "x"}}),
                ("lists as they are", {"components": '[{"id": "1"}]'}, {"components": [{"id": "1"}]}),
                ("a broken list", {"customfield_7": "[x"}, {"customfield_7": "[x"}),
                ("no JSON", {"customfield_7": "[NaN]"}, {"customfield_7": "[NaN]"}),
                ("names", {"components": "Other, b"}, {"components": [{"name": "Other"}, {"name": "b"}]}),
                ("versions", {"fixVersions": "1.0"}, {"fixVersions": [{"name": "1.0"}]}),
                ("options", {"Teams": "a, b"}, {"customfield_2": [{"value": "a"}, {"value": "b"}]}),
                ("an integer", {"Points": "5"}, {"customfield_3": 5}),
                ("a float", {"Points": "0.5"}, {"customfield_3": 0.5}),
                ("no number", {"Points": "nan"}, {"customfield_3": "nan"}),
                ("a text area", {"Steps": "<b>"}, {"customfield_4": steps}),
                ("a child", {"Place": "EU / Rome"}, {"customfield_5": {"value": "EU", "child": {"value": "Rome"}}}),
                ("users", {"Watchers": "ann"}, {"customfield_6": [{user: "ann"}]}),
                ("a user", {"assignee": "ann"}, {"assignee": {user: "ann"}}),
                ("a priority", {"priority": "High"}, {"priority": {"name": "High"}}),
                ("a parent", {"parent": "ABC-1"}, {"parent": {"key": "ABC-1"}}),
                ("a text", {"duedate": "2030-01-31"}, {"duedate": "2030-01-31"}),
                ("a name that two have", {"Same": "x"}, {}),
                ("a default by name", {"Severity": "Low", "customfield_1": "High"}, {"customfield_1": {"id": "11"}}),
                ("a default by id", {"customfield_1": "Low", "Severity": "High"}, {"customfield_1": {"id": "11"}}),
                ("too large", {"Points": "9" * 400}, {"customfield_3": int("9" * 400)}),
                ("a name that none has", {"note": "x"}, {}),
                ("nothing", {"customfield_1": " "}, {}),
                # An organization may be held to some projects.
                ("where it goes", {"Project": "XYZ"}, {}),
                ("what it says", {"Summary": "x"}, {}),
            ],
        )

    def test_words_of_a_search_are_no_operators(self, at: Tracker, vendor: ScriptedVendor) -> None:
        for text, words in [
            ("Error - cannot NOT parse", "Error cannot not parse"),
            ("-Xmx OR AND", "Xmx or and"),
            ("a.b-c@d", "a.b-c@d"),
            ('... -- "', ""),
        ]:
            vendor.requests.clear()
            vendor.answer({"issues": []})
            at.search(text, {"project": "ABC"})
            wanted = f' AND text ~ "{words}"' if words else ""
            assert vendor.requests[0].args["jql"] == f'project = "ABC"{wanted} ORDER BY updated DESC'

    def test_a_lookup_that_fails_never_fails_the_create(self, at: Tracker, vendor: ScriptedVendor) -> None:
        given = {"components": "cart,api", "customfield_1": '{"value": "High"}', "customfield_9": "plain", "note": "x"}
        given["Fix versions"] = "1.0"
        expected = {
            "components": [{"name": "cart"}, {"name": "api"}],
            "fixVersions": [{"name": "1.0"}],
            "customfield_1": {"value": "High"},
            "customfield_9": "plain",
        }
        for status, text in [(404, "{}"), (500, ""), (200, "{}"), (200, "<html>"), (200, '{"values": [{"name": 7}]}')]:
            for key in vendor.lookups:
                vendor.lookups[key] = Response(text, status)
            assert self.sent_fields(at, vendor, **given) == expected, (status, text)

    def test_what_is_required_is_described_first(self, at: Tracker, vendor: ScriptedVendor) -> None:
        first, second, *_ = at.describe({"project": "ABC", "issuetype": "bug"})
        assert first == TrackerField("customfield_1", "Severity", "option", required=True, allowed=["High", "Low"])
        assert second == TrackerField("components", "Components", "list of component", allowed=["Cart"])
        with pytest.raises(ProviderRejected, match="ABC has no type of issue 'Story'; it has bug, task") as caught:
            at.describe({"project": "ABC", "issuetype": "Story"})
        assert list(caught.value.fields) == ["metadata.issuetype"]
        with pytest.raises(ProviderRejected, match="issuetype is needed"):
            at.describe({"project": "ABC"})

    def test_an_account_that_may_create_nothing_is_told_so(self, at: Tracker, vendor: ScriptedVendor) -> None:
        for key in vendor.lookups:
            vendor.lookups[key] = Response('{"values": [], "total": 0}')
        with pytest.raises(ProviderForbidden, match="shows no type of issue of ABC; may the account create"):
            at.describe({"project": "ABC", "issuetype": "Bug"})

    def test_links_of_a_gateway_lead_to_the_site(self, vendor: ScriptedVendor) -> None:
        path = "/ex/jira/1111-2222"
        deadline = time.monotonic() + 5
        at = self.tracker(vendor.url + path, self.credential, deadline=deadline, allowed_hosts=["localhost"])
        info = ("GET", f"{path}/rest/api/{self.version}/serverInfo")
        vendor.answer({})
        assert at.key_of("ABC-7") == "ABC-7"
        # Only an address is compared with the site.
        assert vendor.requests == []
        for answer, url in [
            ("{}", ""),
            ('{"baseUrl": "javascript:x"}', ""),
            ('{"baseUrl": "https://harbor.atlassian.example/"}', "https://harbor.atlassian.example/browse/ABC-7"),
            ("{}", "https://harbor.atlassian.example/browse/ABC-7"),
        ]:
            vendor.lookups[info] = Response(answer)
            vendor.answer({"key": "ABC-7"}, status=201)
            assert at.create(self.issue()).web_url == url

    def test_a_page_of_a_site_that_is_not_known_is_no_wrong_key(self, vendor: ScriptedVendor) -> None:
        at = self.tracker(
            f"{vendor.url}/ex/jira/9",
            Credential(token=SECRET),
            deadline=time.monotonic() + 5,
            allowed_hosts=["localhost"],
        )
        vendor.answer({}, status=403)
        assert at.key_of("ABC-7") == "ABC-7"
        with pytest.raises(ProviderUnavailable, match="does not say where its pages are; name the issue by its key"):
            at.key_of("https://acme.example/browse/ABC-7")

    def test_project_and_type_by_id(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({"key": "ABC-7"})
        at.create(self.issue(fields={"project": "10", "issuetype": "20"}))
        fields = vendor.requests[0].get_json()["fields"]
        assert (fields["project"], fields["issuetype"]) == ({"id": "10"}, {"id": "20"})

    def test_a_summary_is_one_line(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answer({"key": "ABC-7"})
        at.create(self.issue(title="two\nlines"))
        assert vendor.requests[0].get_json()["fields"]["summary"] == "two lines"

    def test_credentials_may_be_a_user_and_a_password(self, vendor: ScriptedVendor) -> None:
        tracker = self.tracker(
            vendor.url,
            Credential(user="ann@example.com", password=SECRET),
            deadline=time.monotonic() + 5,
            allowed_hosts=["localhost"],
        )
        vendor.answer({"key": "ABC-7"})
        tracker.create(self.issue())
        assert vendor.requests[0].headers["Authorization"] == basic("ann@example.com")


def paragraph(text: str) -> dict[str, Any]:
    return {"type": "paragraph", "content": [{"type": "text", "text": text}] if text else []}


def document(*lines: str) -> dict[str, Any]:
    return {"type": "doc", "version": 1, "content": [paragraph(line) for line in lines]}


class TestJiraCloud(TestJiraDataCenter):
    tracker = JiraCloud
    version = "3"
    lookups = jira_lookups("3")
    create = [
        Step(
            "POST",
            "/rest/api/3/issue",
            {"id": "1", "key": "ABC-7"},
            status=201,
            body={
                "fields": {
                    "project": {"key": "ABC"},
                    "issuetype": {"name": "Bug"},
                    "summary": "Bug ü",
                    "description": document(*BODY.split("\n")),
                    "labels": ["a", "b"],
                }
            },
        )
    ]
    find = [
        Step("GET", "/rest/api/3/search/jql", {"issues": [{"key": "ABC-7"}]}, query=TestJiraDataCenter.by_marker),
    ]
    find_nothing = [Step("GET", "/rest/api/3/search/jql", {"issues": [], "isLast": True})]
    read = replace(TestJiraDataCenter.read, path="/rest/api/3/issue/ABC-7")
    search = [replace(TestJiraDataCenter.search[0], path="/rest/api/3/search/jql")]
    comment = [
        Step(
            "POST",
            "/rest/api/3/issue/ABC-7/comment",
            {"id": "1"},
            status=201,
            body={"body": document("Linked <b>.")},
        )
    ]


def collection(*ids: str) -> dict[str, Any]:
    return {"data": {"collection": [{"id": i} for i in ids], "@total_size": len(ids)}}


class TestRoundup(DocumentedTracker):
    tracker = Roundup
    base_path = "/tracker"
    fields = {"priority": "bug"}
    created = TrackerIssue("issue7", "http://localhost:{port}/tracker/issue7")
    credential = Credential(user="ann", password=SECRET)
    authorization = basic("ann")
    headers = {"X-Requested-With": "rest", "Origin": "http://localhost:{port}"}
    message = {"content": BODY, "author": "ann", "date": ".", "messageid": MARKER}
    create = [
        Step("GET", "/rest/data/msg", collection(), query={"messageid": MARKER}),
        Step("POST", "/rest/data/msg", {"data": {"id": "3"}}, status=201, body=message),
        Step(
            "POST",
            "/rest/data/issue",
            {"data": {"id": "7"}},
            status=201,
            body={"title": "Bug ü", "messages": ["3"], "priority": "bug"},
        ),
    ]
    find = [
        Step("GET", "/rest/data/msg", collection("3"), query={"messageid": MARKER}),
        Step("GET", "/rest/data/issue", collection("7"), query={"messages": "3"}),
    ]
    find_nothing = [Step("GET", "/rest/data/msg", collection())]
    comment = [
        Step("GET", "/rest/data/issue/7", {"data": {"@etag": '"e"'}}),
        Step(
            "POST",
            "/rest/data/msg",
            {"data": {"id": "4"}},
            status=201,
            body={"content": "Linked <b>.", "author": "ann", "date": "."},
        ),
        Step(
            "PATCH",
            "/rest/data/issue/7",
            {"data": {"id": "7"}},
            body={"@op": "add", "@etag": '"e"', "messages": ["4"]},
        ),
    ]
    read = Step(
        "GET",
        "/rest/data/issue/7",
        {
            "data": {
                "id": "7",
                "attributes": {"title": "Bug ü", "status": {"id": "2", "name": "chatting"}, "assignedto": None},
            }
        },
        query={"@verbose": "2"},
    )
    found = FoundIssue("", "", "Bug ü", "chatting", "")
    search = [
        Step(
            "GET",
            "/rest/data/issue",
            {"data": {"collection": [{"id": "7", "title": "Bug ü", "status": {"id": "2", "name": "chatting"}}]}},
            query={
                "title": "x\" OR '1",
                "@fields": "title,status,assignedto",
                "@verbose": "2",
                "@page_size": "20",
            },
        )
    ]
    pages = ["/tracker/issue7"]
    foreign_keys = ["7", "msg7", "issue7/../8"]
    complaint = ({"error": {"status": 400, "msg": "not a priority"}}, "not a priority", {})

    def test_a_message_without_its_issue_is_used_again(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(
            Step("GET", "", collection("3")),
            Step("POST", "", {"data": {"id": "7"}}),
        )
        assert at.create(self.issue()) == self.expected(vendor)
        assert vendor.requests[1].get_json()["messages"] == ["3"]

    def test_a_token_is_nobody_who_could_write_a_message(self) -> None:
        with pytest.raises(ProviderMisconfigured, match="user and password"):
            Roundup("https://tracker.example", Credential(token=SECRET), deadline=time.monotonic() + 1)
