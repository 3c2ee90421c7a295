"""``flask scm issues`` and ``flask scm trackers``: issues as their trackers have them, and what is done there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TextIO, TypeVar

import click
import sqlalchemy as sa
from google.protobuf.message import Message
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode, printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, organization_named, print_result, scm_cli
from flask_grpcweb_scm.scm.cli.kinds import group_numbered, installation_named
from flask_grpcweb_scm.scm.cli.rows import key_values
from flask_grpcweb_scm.scm.cli.sync import run_all
from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import ExternalIssue, IssueState, Job
from flask_grpcweb_scm.scm.database.values import LOCAL_KEY
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES
from flask_grpcweb_scm.scm.jobs.issues import make_all_due
from flask_grpcweb_scm.scm.service import external_issues as service
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.scm.trackers.registry import list_trackers

__all__ = [
    "create_issue",
    "issue_fields",
    "issues_cli",
    "link_issue",
    "list_issues",
    "refresh_issues_command",
    "search_issues",
    "trackers_command",
]

UNITS = [(timedelta(days=2), 86400, "d"), (timedelta(hours=2), 3600, "h"), (timedelta(minutes=2), 60, "min")]
Response = TypeVar("Response", bound=Message)
MAX_SHOWN = 8  # values of a field, in a line

fields_option = click.option(
    "--set", "pairs", callback=key_values, multiple=True, metavar="KEY=VALUE",
    help="A field of the issue (repo, project, labels …), in place of the integration's default. Can be repeated.",
)  # fmt: skip


@scm_cli.group("issues")
def issues_cli() -> None:
    """List external issues as their trackers have them, and read them there."""


@command("list", issues_cli)
@click.argument("organization", metavar="ORG")
@click.option("--integration", metavar="NAME", help="Only those of this one, by id or name.")
def list_issues(organization: str, integration: str | None, as_json: bool) -> None:
    """List an organization's external issues, with their status and how long ago it was read."""
    rows, now = _issues(organization, integration), database_now()
    facts = [_facts(row, now) for row in rows]
    print_result(as_json, "\n".join(_line(fact) for fact in facts) or "there are no external issues", issues=facts)


@command("refresh", issues_cli)
@click.argument("organization", metavar="ORG")
@click.option("--integration", metavar="NAME", help="Only those of this one, by id or name.")
@click.option("--key", "keys", multiple=True, help="Only this one, by its key. Can be repeated.")
def refresh_issues_command(organization: str, integration: str | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Read an organization's external issues at their trackers now, those that were given up too."""
    before = [row for row in _issues(organization, integration) if not keys or {row.key, row.moved_to} & {*keys}]
    integrations = {row.integration_id for row in before}
    names = {row.integration_id: row.integration.name for row in before}
    organization_id, now = organization_named(organization).id, database_now()
    known = {key for row in before if row.key != f"{LOCAL_KEY}{row.id}" for key in (row.key, row.moved_to)}
    if unknown := [key for key in keys if key not in known]:
        fail(f"{organization!r} has no issue {unknown[0]!r} at a tracker; see: flask scm issues list {organization}")
    for row_id in sorted(integrations):
        make_all_due(row_id, organization_id, keys)
    release_connection()
    only = Job.subject_id.in_(integrations)
    for _ in run_all({REFRESH_ISSUES: KINDS[REFRESH_ISSUES]}, only, attempts=1):
        pass
    ids = {row.id for row in before}
    rows = [row for row in _issues(organization, integration) if row.id in ids]
    unread = [row for row in rows if row.state_time is None or row.state_time < now]
    jobs = sa.select(Job.subject_id, Job.error).where(Job.kind == REFRESH_ISSUES, only, Job.error != "")
    errors = {names[row.subject_id]: row.error for row in db.session.execute(jobs)}
    facts = [_facts(row, database_now()) for row in rows]
    lines = [_line(fact) for fact in facts]
    lines += [printable(f"{name}: {error}") for name, error in errors.items()]
    lines.append(f"{len(rows) - len(unread)} of {len(rows)} read")
    print_result(as_json, "\n".join(lines), issues=facts, read=len(rows) - len(unread), errors=errors)
    if errors:
        raise click.exceptions.Exit(1)


def _issues(organization: str, integration: str | None) -> Sequence[ExternalIssue]:
    statement = sa.select(ExternalIssue).options(joinedload(ExternalIssue.integration)).order_by(ExternalIssue.id)
    statement = statement.where(ExternalIssue.organization_id == organization_named(organization).id)
    if integration is not None:
        integration_id = installation_named(organization, integration).integration_id
        statement = statement.where(ExternalIssue.integration_id == integration_id)
    return db.session.scalars(statement, execution_options={"populate_existing": True}).all()


def _facts(row: ExternalIssue, now: datetime) -> dict[str, Any]:
    return {
        "id": row.id,
        "integration": row.integration.name,
        "key": row.key,
        "title": row.title,
        "state": row.state.value,
        "status": row.status,
        "assignee": row.assignee,
        "moved_to": row.moved_to,
        "read": row.state_time.isoformat(timespec="seconds") if row.state_time is not None else "",
        "age": "" if row.state_time is None else _age(now - row.state_time),
    }


def _line(fact: dict[str, Any]) -> str:
    parts = [fact["state"]] if fact["state"] != IssueState.PRESENT.value else []
    parts += [f"to {fact['moved_to']}"] if fact["moved_to"] else []
    parts += [fact["status"] or "no status", fact["assignee"] or "nobody"]
    parts += [f"read {fact['age']} ago"] if fact["age"] else []
    return printable(f"{fact['key']}  {', '.join(parts)}: {fact['title']}")


def _age(age: timedelta) -> str:
    seconds = max(0, round(age.total_seconds()))
    for least, length, unit in UNITS:
        if age >= least:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


# At a tracker


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
