"""Stand-ins for the vendors of our trackers: as far as their APIs are used, with issues in memory."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, Response, jsonify, request

Stored = list[dict[str, Any]]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def refused(status: int, answer: Any) -> tuple[Response, int]:
    return jsonify(answer), status


def github_app(prefix: str = "") -> Flask:  # noqa: C901  # a function for each path
    app, issues = Flask("github"), Stored()
    missing = {"message": "Not Found"}

    def shown(issue: dict[str, Any]) -> dict[str, Any]:
        site = request.host_url.rstrip("/")
        repository, number = issue["repository"], issue["number"]
        return {
            **issue,
            "html_url": f"{site}/{repository}/issues/{number}",
            "repository_url": f"{site}{prefix}/repos/{repository}",
            "state": "open",
            "assignee": {"login": "ann"},
        }

    @app.route(f"{prefix}/repos/<owner>/<repo>/issues", methods=["GET", "POST"])
    def of_repository(owner: str, repo: str) -> Any:
        name = f"{owner}/{repo}"
        if name != "o/r":
            return refused(404, missing)
        if request.method == "GET":
            return jsonify([shown(issue) for issue in reversed(issues)][: int(request.args["per_page"])])
        given = request.get_json()
        if not given.get("title") or len(given["title"]) > 256 or not all(given.get("labels", ["x"])):
            error = {"resource": "Issue", "field": "title", "code": "invalid"}
            return refused(422, {"message": "Validation Failed", "errors": [error]})
        issues.append({**given, "repository": name, "number": len(issues) + 1})
        return jsonify(shown(issues[-1])), 201

    @app.get(f"{prefix}/repos/<owner>/<repo>/issues/<int:number>")
    def one(owner: str, repo: str, number: int) -> Any:
        return jsonify(shown(issues[number - 1])) if number <= len(issues) else refused(404, missing)

    @app.route(f"{prefix}/repos/<owner>/<repo>/issues/<int:number>/comments", methods=["GET", "POST"])
    def comments(owner: str, repo: str, number: int) -> Any:
        if number > len(issues):
            return refused(404, missing)
        said = issues[number - 1].setdefault("comments", [])
        if request.method == "GET":
            return jsonify(said)
        said.append({"id": len(said) + 1, **request.get_json()})
        return said[-1], 201

    @app.post(prefix.removesuffix("/v3") + "/graphql")
    def graphql() -> Any:
        found: dict[str, Any] = {"nameWithOwner": "o/r"}
        for number in map(int, re.findall(r"issue\(number: (\d+)\)", request.get_json()["query"])):
            row = shown(issues[number - 1])
            people = {"assignees": {"nodes": [{"login": "ann"}]}, "state": "OPEN", "stateReason": None}
            found[f"i{number}"] = {"number": number, "title": row["title"], "url": row["html_url"], **people}
        return {"data": {"repository": found}}

    @app.get(f"{prefix}/search/issues")
    def search() -> Any:
        match = re.fullmatch(r'"(.*)" repo:(\S+) is:issue', request.args["q"])
        assert match
        found = [shown(each) for each in issues if words_of(match[1]) <= words_of(each["title"])]
        return jsonify(items=found[: int(request.args["per_page"])])

    return app


def gitlab_app() -> Flask:  # noqa: C901  # a function for each path
    app, issues = Flask("gitlab"), Stored()

    def shown(issue: dict[str, Any]) -> dict[str, Any]:
        url = f"{request.host_url}group/p/-/issues/{issue['iid']}"
        return {**issue, "web_url": url, "state": "opened", "assignee": {"username": "ann"}}

    @app.route("/api/v4/projects/<path:project>/issues", methods=["GET", "POST"])
    def of_project(project: str) -> Any:
        if project != "group/p":
            return refused(404, {"message": "404 Project Not Found"})
        if request.args.get("iids[]"):
            return jsonify([shown(issues[int(number) - 1]) for number in request.args.getlist("iids[]")])
        if request.method == "GET":
            places = request.args["in"].split(",")
            found = [
                each for each in issues if any(words_of(request.args["search"]) <= words_of(each[p]) for p in places)
            ]
            return jsonify([shown(issue) for issue in found][: int(request.args.get("per_page", 20))])
        given = request.get_json()
        if not given.get("title") or len(given["title"]) > 255:
            return refused(400, {"message": {"title": ["is too long (maximum is 255 characters)"]}})
        issues.append({**given, "iid": len(issues) + 1})
        return jsonify(shown(issues[-1])), 201

    @app.get("/api/v4/projects/<path:project>/issues/<int:number>")
    def one(project: str, number: int) -> Any:
        return (
            jsonify(shown(issues[number - 1])) if number <= len(issues) else refused(404, {"message": "404 Not found"})
        )

    @app.route("/api/v4/projects/<path:project>/issues/<int:number>/notes", methods=["GET", "POST"])
    def notes(project: str, number: int) -> Any:
        if number > len(issues):
            return refused(404, {"message": "404 Not found"})
        said = issues[number - 1].setdefault("notes", [])
        if request.method == "GET":
            return jsonify(said)
        said.append(request.get_json())
        return said[-1], 201

    return app


def azure_app() -> Flask:  # noqa: C901  # a function for each path
    app, items = Flask("azure"), Stored()
    said: dict[int, list[str]] = {}
    missing = {"message": "TF401232: no such work item"}

    def shown(number: int) -> dict[str, Any]:
        state = {"System.State": "New", "System.AssignedTo": {"displayName": "Ann"}, "System.TeamProject": "My Project"}
        return {"id": number, "fields": {**items[number - 1], **state}}

    @app.post("/acme/<project>/_apis/wit/workitems/$<kind>")
    def create(project: str, kind: str) -> Any:
        if project != "My Project" or kind not in {"Bug", "Issue"}:
            return refused(404, {"message": "VS402323: no such type"})
        fields = {row["path"].removeprefix("/fields/"): row["value"] for row in request.get_json(force=True)}
        if not fields.get("System.Title") or len(fields["System.Title"]) > 255:
            return refused(400, {"message": "TF401320: Rule Error for field Title"})
        items.append(fields)
        return shown(len(items))

    @app.get("/acme/<project>/_apis/wit/workitemtypes/<kind>/fields")
    def fields_of(project: str, kind: str) -> Any:
        return {"value": [{"referenceName": "Custom.Severity", "name": "Severity", "alwaysRequired": True}]}

    @app.post("/acme/<project>/_apis/wit/wiql")
    def wiql(project: str) -> Any:
        match = re.search(r"AND \[(System\.\w+)\] CONTAINS '((?:[^']|'')*)'", request.get_json()["query"])
        assert match
        wanted = words_of(match[2].replace("''", "'"))
        found = [number for number, item in enumerate(items, 1) if wanted <= words_of(item[match[1]])]
        return {"workItems": [{"id": number} for number in found][: int(request.args.get("$top", 200))]}

    @app.get("/acme/_apis/wit/workitems")
    def several() -> Any:
        numbers = [int(number) for number in request.args["ids"].split(",")]
        return {"value": [shown(number) for number in numbers if number <= len(items)]}

    @app.post("/acme/_apis/wit/workitemsbatch")
    def batch() -> Any:
        return {"value": [shown(number) if number <= len(items) else None for number in request.get_json()["ids"]]}

    @app.get("/acme/_apis/wit/workitems/<int:number>/updates")
    def updates(number: int) -> Any:
        return {"value": [{"fields": {"System.History": {"newValue": text}}} for text in said.get(number, [])]}

    @app.route("/acme/_apis/wit/workitems/<int:number>", methods=["GET", "PATCH"])
    def one(number: int) -> Any:
        if number > len(items):
            return refused(404, missing)
        if request.method == "PATCH":
            said.setdefault(number, []).extend(row["value"] for row in request.get_json(force=True))
        return shown(number)

    return app


def jira_errors(given: dict[str, Any]) -> dict[str, str]:
    if given["project"] != {"key": "ABC"} or given["issuetype"] != {"name": "Bug"}:
        return {"project": "valid project is required"}
    if not given.get("summary") or len(given["summary"]) > 255 or "\n" in given["summary"]:
        return {"summary": "Summary must be less than 255 characters."}
    if not given.get("customfield_1"):
        return {"customfield_1": "Severity is required."}
    return {"customfield_1": "Severity is none of High, Low."} if given["customfield_1"] == "impossible" else {}


def jira_app(version: str) -> Flask:  # noqa: C901  # a function for each path
    app, issues = Flask("jira"), Stored()
    api = f"/jira/rest/api/{version}"
    missing = {"errorMessages": ["Issue does not exist or you do not have permission to see it."], "errors": {}}

    def shown(issue: dict[str, Any]) -> dict[str, Any]:
        people = {"status": {"name": "To Do"}, "assignee": {"displayName": "Ann"}}
        return {"key": issue["key"], "fields": {"summary": issue["summary"], **people}}

    @app.get(f"{api}/issue/createmeta/<project>/issuetypes")
    def types(project: str) -> Any:
        rows = [{"id": "2", "name": "Bug"}]
        return {"values": rows, "issueTypes": rows, "total": 1}

    @app.get(f"{api}/issue/createmeta/<project>/issuetypes/2")
    def fields(project: str) -> Any:
        field = {"fieldId": "customfield_1", "name": "Severity", "required": True, "schema": {"type": "string"}}
        return {"values": [field], "fields": [field], "total": 1}

    @app.post(f"{api}/issue")
    def create() -> Any:
        given = request.get_json()["fields"]
        if wrong := jira_errors(given):
            return refused(400, {"errorMessages": [], "errors": wrong})
        issues.append({**given, "key": f"ABC-{len(issues) + 1}"})
        return {"id": "1", "key": issues[-1]["key"]}, 201

    @app.get(f"{api}/search")
    @app.get(f"{api}/search/jql")
    def search() -> Any:
        if keys := re.fullmatch(r"key in \((.*)\)", request.args["jql"]):
            return {"issues": [shown(issue) for issue in issues if issue["key"] in re.findall(r"[A-Z]+-\d+", keys[1])]}
        match = re.search(r'text ~ "([^"]*)"', request.args["jql"])
        wanted = words_of(match[1] if match else "")
        found = [each for each in issues if wanted <= words_of(f"{each['summary']} {each['description']}")]
        return {"issues": [shown(issue) for issue in found][: int(request.args["maxResults"])]}

    @app.get(f"{api}/issue/<key>")
    def one(key: str) -> Any:
        return next((shown(each) for each in issues if each["key"] == key), None) or refused(404, missing)

    @app.post(f"{api}/issue/bulkfetch")
    def bulk() -> Any:
        return {"issues": [shown(issue) for issue in issues if issue["key"] in request.get_json()["issueIdsOrKeys"]]}

    @app.route(f"{api}/issue/<key>/comment", methods=["GET", "POST"])
    def comment(key: str) -> Any:
        issue = next((each for each in issues if each["key"] == key), None)
        if issue is None:
            return refused(404, missing)
        if request.method == "GET":
            return {"comments": issue.get("said", [])}
        issue.setdefault("said", []).append(request.get_json())
        return {"id": "1"}, 201

    return app


def roundup_app() -> Flask:
    app, rows = Flask("roundup"), {"msg": Stored(), "issue": Stored()}
    missing = {"error": {"status": 404, "msg": "no such item"}}

    def shown(number: int, issue: dict[str, Any]) -> dict[str, Any]:
        summary = {"summary": issue["content"].partition("\n")[0]} if "content" in issue else {}
        return {**issue, **summary, "id": str(number), "status": {"name": "new"}, "assignedto": {"username": "ann"}}

    @app.post("/tracker/rest/data/<kind>")
    def create(kind: str) -> Any:
        rows[kind].append(request.get_json())
        return {"data": {"id": str(len(rows[kind]))}}, 201

    @app.get("/tracker/rest/data/<kind>")
    def collection(kind: str) -> Any:
        by = {name: text for name, text in request.args.items() if not name.startswith("@")}

        def matches(row: dict[str, Any]) -> bool:
            if "title" in by:
                return words_of(by["title"]) <= words_of(row["title"])
            return all(text == row.get(name) or text in row.get(name, ()) for name, text in by.items())

        if ids := request.args.getlist("id"):
            return {"data": {"collection": [shown(int(number), rows[kind][int(number) - 1]) for number in ids]}}
        found = [shown(number, row) for number, row in enumerate(rows[kind], 1) if matches(row)]
        return {"data": {"collection": found[: int(request.args.get("@page_size", 50))]}}

    @app.route("/tracker/rest/data/issue/<int:number>", methods=["GET", "PATCH"])
    def one(number: int) -> Any:
        if number > len(rows["issue"]):
            return refused(404, missing)
        issue = rows["issue"][number - 1]
        if request.method == "PATCH":
            issue["messages"].extend(request.get_json()["messages"])
        attributes = {**shown(number, issue), "messages": [{"id": each} for each in issue["messages"]]}
        return {"data": {"id": str(number), "@etag": '"e"', "attributes": attributes}}

    return app
