"""A stand-in for Linear: its schema, as far as it is used, with issues in memory."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from graphql import GraphQLError, build_schema

from tests.scm.graphql import respond

SCHEMA = build_schema((Path(__file__).parent / "linear.graphql").read_text())
TEAMS = [{"id": "b5f0e2a4-0000-4000-8000-000000000001", "key": "ENG"}]
USERS = [{"id": "b5f0e2a4-0000-4000-8000-000000000002", "email": "ann@acme.example", "displayName": "ann"}]
MAX_TITLE_CHARACTERS = 255
STATUSES = {"authentication error": 401, "ratelimited": 400, "graphql error": 400}


class Linear:
    """The root of its schema."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []
        self.comments: list[tuple[str, str]] = []

    def teams(self, _: Any, **given: Any) -> Any:
        return {"nodes": [team for team in TEAMS if team["key"] == given["filter"]["key"]["eq"]]}

    def users(self, _: Any, **given: Any) -> Any:
        return {"nodes": [user for user in USERS if user["email"] == given["filter"]["email"]["eq"]]}

    def issues(self, _: Any, **given: Any) -> Any:
        return {"nodes": [issue for issue in self.stored if matches(issue, given["filter"])]}

    def searchIssues(self, _: Any, term: str, first: int, **given: Any) -> Any:  # noqa: N802  # Linear's name
        words = set(re.findall(r"\w+", term.lower()))
        found = [each for each in self.stored if words <= set(re.findall(r"\w+", each["title"].lower()))]
        return {"nodes": [issue for issue in found if matches(issue, given["filter"])][:first]}

    def issueCreate(self, _: Any, **request: Any) -> Any:  # noqa: N802  # Linear's name
        given = request["input"]
        if given["teamId"] not in {team["id"] for team in TEAMS}:
            raise refusal("Entity not found: Team", "Could not find referenced Team.")
        if not given.get("title") or len(given["title"]) > MAX_TITLE_CHARACTERS:
            raise refusal("Argument Validation Error", "title must be shorter than or equal to 255 characters.")
        if uuid.UUID(given["id"]).version != 4:
            raise refusal("Argument Validation Error", "id must be a UUID.")
        if any(issue["id"] == given["id"] for issue in self.stored):
            raise refusal("Conflict on insert", "Entity with this id already exists.")
        number = len(self.stored) + 1
        person = next((user for user in USERS if user["id"] == given.get("assigneeId")), None)
        self.stored.append(
            {
                **given,
                "team": TEAMS[0],
                "number": number,
                "identifier": f"ENG-{number}",
                "url": f"https://linear.app/acme/issue/ENG-{number}/bug",
                "state": {"name": "Backlog"},
                "assignee": person,
            }
        )
        return {"success": True, "issue": self.stored[-1]}

    def commentCreate(self, _: Any, **request: Any) -> Any:  # noqa: N802  # Linear's name
        given = request["input"]
        if not any(given["issueId"] in (issue["id"], issue["identifier"]) for issue in self.stored):
            raise refusal("Entity not found: Issue", "Could not find referenced Issue.")
        self.comments.append((given["issueId"], given["body"]))
        return {"success": True}


def matches(issue: dict[str, Any], by: Any) -> bool:
    """Compare as Linear's filters do, of which `eq` and `in` are used."""
    for name, condition in by.items():
        if name == "team":
            if not matches(issue["team"], condition):
                return False
        elif issue[name] != condition.get("eq", issue[name]) or issue[name] not in condition.get("in", [issue[name]]):
            return False
    return True


def refusal(message: str, told: str, kind: str = "invalid input") -> GraphQLError:
    return GraphQLError(message, extensions={"type": kind, "userPresentableMessage": told})


def linear_app(token: str) -> Flask:
    """Make the stand-in; its config has the issues."""
    app, linear = Flask("linear"), Linear()
    app.config["LINEAR"] = linear

    @app.post("/graphql")
    def graphql() -> tuple[Response, int]:
        if request.headers.get("Authorization") != token:
            error = refusal(
                "Authentication required, not authenticated", "You need to authenticate.", "authentication error"
            )
            return jsonify(errors=[error.formatted]), 401
        body = request.get_json()
        result = respond(SCHEMA, body["query"], linear, body.get("variables"))
        errors = [
            {**error.formatted, "extensions": error.extensions or {"type": "graphql error", "userError": False}}
            for error in result.errors or ()
        ]
        status = 400 if result.data is None and errors else 200
        return jsonify({"data": result.data, **({"errors": errors} if errors else {})}), status

    return app
