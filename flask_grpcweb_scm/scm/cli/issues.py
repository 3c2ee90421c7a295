"""``flask scm issues``: what trackers say of issues, how old that is, and a way to have it read now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, organization_named, print_result, scm_cli
from flask_grpcweb_scm.scm.cli.kinds import installation_named
from flask_grpcweb_scm.scm.cli.sync import run_all
from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import ExternalIssue, IssueState, Job
from flask_grpcweb_scm.scm.database.values import LOCAL_KEY
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES
from flask_grpcweb_scm.scm.jobs.issues import make_all_due
from flask_grpcweb_scm.scm.sync import KINDS

__all__ = ["issues_cli", "list_issues", "refresh_issues_command"]

UNITS = [(timedelta(days=2), 86400, "d"), (timedelta(hours=2), 3600, "h"), (timedelta(minutes=2), 60, "min")]


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
