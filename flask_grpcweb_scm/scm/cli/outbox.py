"""``flask scm outbox``: operations whose outcome is not known."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from flask_grpcweb_scm.rpc import RpcError
from flask_grpcweb_scm.scm.cli.command import command, fail, print_result, scm_cli
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import IssueOperation
from flask_grpcweb_scm.scm.trackers import outbox

__all__ = ["discard_operation", "list_operations", "outbox_cli", "resume_operation"]


@scm_cli.group("outbox")
def outbox_cli() -> None:
    """List and complete operations: issues that may have been created at a tracker, and are not known to be."""


@command("list", outbox_cli)
def list_operations(as_json: bool) -> None:
    """List the operations whose outcome is not known."""
    now = datetime.now(timezone.utc)
    facts = [
        {
            "id": row.id,
            "organization": row.organization.slug,
            "integration": row.integration.name,
            "title": row.title,
            "added": row.date_added.isoformat(timespec="seconds"),
            "attempts": row.attempts,
            "state": "under way" if row.claimed_until > now else row.error or "killed",
        }
        for row in outbox.unfinished()
    ]
    lines = ["{id}  {added}  {organization}  {integration}  {title!r}: {state}".format(**fact) for fact in facts]
    print_result(as_json, "\n".join(lines) or "nothing is left", operations=facts)


@command("resume", outbox_cli)
@click.argument("operation_id", metavar="ID", type=int)
def resume_operation(operation_id: int, as_json: bool) -> None:
    """Find the issue of an operation at its tracker, or else create it, and store it."""
    try:
        issue = outbox.resume(_operation(operation_id))
    except RpcError as error:
        raise click.ClickException(error.message) from error
    print_result(as_json, f"issue {issue.key} is external issue {issue.id}", id=issue.id, key=issue.key)


@command("discard", outbox_cli)
@click.argument("operation_id", metavar="ID", type=int)
def discard_operation(operation_id: int, as_json: bool) -> None:
    """Delete an operation, once you have seen that its tracker has no issue of it, or do not want the issue."""
    outbox.discard(_operation(operation_id))
    print_result(as_json, f"operation {operation_id} is deleted", id=operation_id)


def _operation(operation_id: int) -> IssueOperation:
    row = db.session.get(IssueOperation, operation_id)
    if row is None:
        fail(f"there is no operation {operation_id}; see: flask scm outbox list")
    return row
