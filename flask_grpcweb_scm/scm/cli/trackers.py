"""``flask scm trackers``, and of ``flask scm issues`` what is done at a tracker: fields, search, create, link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click
from google.protobuf.message import Message

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode, printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, print_result
from flask_grpcweb_scm.scm.cli.issues import issues_cli
from flask_grpcweb_scm.scm.cli.kinds import group_numbered, installation_named
from flask_grpcweb_scm.scm.cli.rows import key_values
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.service import external_issues as service
from flask_grpcweb_scm.scm.trackers.registry import list_trackers

__all__ = ["create_issue", "issue_fields", "link_issue", "search_issues", "trackers_command"]

Response = TypeVar("Response", bound=Message)
MAX_SHOWN = 8  # values of a field, in a line

fields_option = click.option(
    "--set", "pairs", callback=key_values, multiple=True, metavar="KEY=VALUE",
    help="A field of the issue (repo, project, labels …), in place of the integration's default. Can be repeated.",
)  # fmt: skip


@command("trackers")
def trackers_command(as_json: bool) -> None:
    """List the kinds of trackers: a provider of integrations each, with the fields that an issue must have."""
    facts: list[dict[str, Any]] = []
    for kind in list_trackers():
        needs = [] if kind.tracker is None else [*kind.tracker.required]
        facts.append({"provider": kind.provider, "needs": needs, "origin": kind.origin, "problem": kind.problem})
    lines = []
    for fact in facts:
        told = fact["problem"] or ", ".join(filter(None, (" ".join(fact["needs"]), fact["origin"])))
        lines.append(printable(f"{fact['provider']}  {told}".rstrip()))
    print_result(as_json, "\n".join(lines), trackers=facts)


@command("fields", issues_cli)
@click.argument("organization", metavar="ORG")
@click.argument("integration", metavar="INTEGRATION")
@fields_option
def issue_fields(organization: str, integration: str, pairs: dict[str, str], as_json: bool) -> None:
    """List the fields that an issue may have at a tracker, those that it must have first."""
    ids = _ids(organization, integration)
    response = _call(
        service.describe_tracker_fields, scm_pb2.DescribeTrackerFieldsRequest(**ids, metadata=pairs), CallContext()
    )
    facts = [
        {
            "name": field.name,
            "label": field.label,
            "type": field.type,
            "required": field.required,
            "allowed": [*field.allowed_values],
            "default": field.default_value,
        }
        for field in response.fields
    ]
    print_result(as_json, "\n".join(map(_field_line, facts)) or "the tracker names no fields", fields=facts)


def _field_line(fact: dict[str, Any]) -> str:
    parts = [fact["label"]] if fact["label"] != fact["name"] else []
    parts += [fact["type"], "required" if fact["required"] else ""]
    parts += [f"default {fact['default']}"] if fact["default"] else []
    if allowed := fact["allowed"]:
        parts.append("one of " + ", ".join(allowed[:MAX_SHOWN]) + (" …" if len(allowed) > MAX_SHOWN else ""))
    return printable(f"{fact['name']}  {', '.join(filter(None, parts))}")


@command("search", issues_cli)
@click.argument("organization", metavar="ORG")
@click.argument("integration", metavar="INTEGRATION")
@click.argument("text", metavar="TEXT")
@fields_option
def search_issues(organization: str, integration: str, text: str, pairs: dict[str, str], as_json: bool) -> None:
    """Find issues at a tracker by words."""
    request = scm_pb2.SearchExternalIssuesRequest(**_ids(organization, integration), query=text, metadata=pairs)
    response = _call(service.search_external_issues, request, CallContext())
    facts = [
        {
            "key": issue.key,
            "title": issue.title,
            "status": issue.status,
            "assignee": issue.assignee,
            "url": issue.web_url,
        }
        for issue in response.issues
    ]
    print_result(as_json, "\n".join(map(_found_line, facts)) or "no issue has these words", issues=facts)


def _found_line(fact: dict[str, str]) -> str:
    state = f"{fact['status'] or 'no status'}, {fact['assignee'] or 'nobody'}"
    return printable(f"{fact['key']}  {state}: {fact['title']}")


@command("create", issues_cli)
@click.argument("organization", metavar="ORG")
@click.argument("integration", metavar="INTEGRATION")
@click.option("--title", required=True)
@click.option("--description", default="")
@click.option(
    "--description-file", "file", type=click.File(encoding="utf-8", errors="replace"), metavar="FILE",
    help="A text in place of --description; - for standard input.",
)  # fmt: skip
@fields_option
@click.option("--group", nargs=2, metavar="PROJECT NUMBER", help="The error group to link it to.")
@click.option("--idempotency-key", default="", metavar="KEY", help="With the same one, no second issue is created.")
def create_issue(
    organization: str,
    integration: str,
    title: str,
    description: str,
    file: TextIO | None,
    pairs: dict[str, str],
    group: tuple[str, str] | None,
    idempotency_key: str,
    as_json: bool,
) -> None:
    """Create an issue at a tracker, and link it to an error group."""
    ids = _ids(organization, integration)
    group_id = 0 if group is None else group_numbered(organization, *group).id
    text = description if file is None else file.read()
    request = scm_pb2.CreateExternalIssueRequest(**ids, title=title, description=text, metadata=pairs)
    context = CallContext()
    if idempotency_key:
        context.metadata.add("idempotency-key", idempotency_key)
    issue = _call(service.create_external_issue, request, context)
    linked = ""
    if group is not None:
        link = scm_pb2.LinkExternalIssueRequest(group_id=group_id, external_issue_id=issue.id)
        _link_again(link)
        linked = f", and linked to group {group[1]} of {group[0]!r}"
    told = f"created issue {issue.key}{linked}; external issue {issue.id} {issue.web_url}".rstrip()
    print_result(as_json, told, id=issue.id, key=issue.key, url=issue.web_url)


@command("link", issues_cli)
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.argument("number", metavar="NUMBER")
@click.argument("integration", metavar="INTEGRATION")
@click.argument("key", metavar="KEY")
def link_issue(organization: str, project: str, number: str, integration: str, key: str, as_json: bool) -> None:
    """Link an issue that a tracker has, by its key or the address of its page, to an error group."""
    integration_id = _ids(organization, integration)["integration_id"]
    request = scm_pb2.LinkExternalIssueRequest(
        group_id=group_numbered(organization, project, number).id, integration_id=integration_id, external_key=key
    )
    issue = _call(service.link_external_issue, request, CallContext())
    told = f"issue {issue.key} {issue.title!r} is linked to group {number} of {project!r}; external issue {issue.id}"
    print_result(as_json, told, id=issue.id, key=issue.key, title=issue.title, url=issue.web_url)


def _ids(organization: str, integration: str) -> dict[str, int]:
    row = installation_named(organization, integration)
    return {"organization_id": row.organization_id, "integration_id": row.integration_id}


def _link_again(request: scm_pb2.LinkExternalIssueRequest) -> None:
    """Link an issue, unless an earlier run of the same command has done it."""
    try:
        service.link_external_issue(request, CallContext())
    except RpcError as error:
        if error.code is not StatusCode.ALREADY_EXISTS:
            fail(error.message)
    db.session.commit()


def _call(function: Callable[[Any, CallContext], Response], request: Message, context: CallContext) -> Response:
    """Call a function of the service and commit, or end the command with its error."""
    try:
        response = function(request, context)
    except RpcError as error:
        fail(error.message)
    db.session.commit()
    return response
