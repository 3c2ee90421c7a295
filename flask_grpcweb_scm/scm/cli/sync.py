"""``flask scm sync``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import sqlalchemy as sa

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, organization_named, print_result
from flask_grpcweb_scm.scm.cli.kinds import installation_named
from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import Job, Repository
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, SYNC_REPOSITORY, Kind, Lease, is_free, make_due, run_due
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.scm.sync.organization import OrganizationSync
from flask_grpcweb_scm.scm.sync.plan import Action
from flask_grpcweb_scm.scm.sync.state import begin_run, end_run

__all__ = ["run_all", "sync_command"]

POLL_SECONDS = 0.5
MAX_ATTEMPTS = 3
"""At a repository, in one run."""
LONGEST_WAIT = timedelta(minutes=2)
"""For the next attempt."""
PAST = {
    "add": "added",
    "adopt": "adopted",
    "rename": "renamed",
    "update": "updated",
    "archive": "archived",
    "unarchive": "active again",
    "hide": "hidden",
    "unhide": "visible again",
    "hand over": "handed over",
    "keep": "unchanged",
    "skip": "skipped",
}


@command("sync")
@click.argument("organization", metavar="ORG")
@click.option("--integration", metavar="NAME", help="Only this one, by id or name. Default: all that can list.")
@click.option("--repository", "repositories", multiple=True, help="Only this one, by id or name. Can be repeated.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
def sync_command(
    organization: str, integration: str | None, repositories: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Make an organization's repositories those that its integrations can see, and import their history.

    They are known by the provider's number: new ones are added, and others renamed, disabled when they are archived,
    and hidden when they are not there any more. One that was imported by hand becomes the provider's by its remote.
    Run this again after an interruption: it goes on where it was.
    """
    row_id = organization_named(organization).id
    installation = None if integration is None else installation_named(organization, integration)
    wanted = {name.lower() for name in repositories} or None
    sync = OrganizationSync(
        row_id,
        note=_note,
        integration_id=None if installation is None else installation.integration_id,
        wanted=wanted,
    )
    if not sync.installations():
        fail(
            f"{organization!r} has no integration that lists repositories; run: flask scm add-integration"
            f" {organization} PROVIDER --name NAME --credentials NAME, with github, github_enterprise or gitlab"
        )
    if dry_run:
        _check_wait(row_id)
        sync.run(is_dry=True)
        _finish(as_json, sync, {}, [], is_dry=True)
        return
    # A run of a part is no part of a run.
    since = begin_run(row_id) if installation is None and wanted is None else None
    _list(sync, since)
    synced, failed = _sync_repositories(sync)
    if since is not None:
        end_run(row_id)
    _finish(as_json, sync, {"synced": synced}, failed)


def _note(line: str) -> None:
    click.echo(printable(line), err=True)


def _check_wait(organization_id: int) -> None:
    """End the command when a provider has the sync of an organization wait."""
    mine = sa.and_(Job.kind == SYNC_ORGANIZATION, Job.subject_id == organization_id)
    job = db.session.scalars(sa.select(Job).where(mine, Job.not_before > database_now())).one_or_none()
    if job is not None and job.not_before is not None:
        end = job.not_before.isoformat(timespec="seconds")
        fail(f"the sync did not run: a provider has it wait until {end} ({job.error})")


def _list(sync: OrganizationSync, since: datetime | None) -> None:
    """Run the job of the organization here, once a worker that is at it has ended."""
    is_done = False

    def run(organization_id: int, lease: Lease) -> None:
        nonlocal is_done
        sync.check = lease.check
        sync.run(since=since, is_full=True)
        is_done = True
        sync.raise_error()

    make_due(SYNC_ORGANIZATION, sync.organization_id, organization_id=sync.organization_id)
    release_connection()
    kinds = {SYNC_ORGANIZATION: Kind(run, KINDS[SYNC_ORGANIZATION].interval)}
    only = Job.subject_id == sync.organization_id
    for _ in run_all(kinds, only):
        if is_done or sync.errors:
            return
    _check_wait(sync.organization_id)
    error = db.session.scalar(sa.select(Job.error).where(Job.kind == SYNC_ORGANIZATION, only))
    fail(f"the sync did not run: {error or 'its job is gone; run this again'}")


def _sync_repositories(sync: OrganizationSync) -> tuple[int, list[dict[str, Any]]]:
    """Sync the repositories that are due; returns how many, and the errors of those that failed."""
    mine = sa.and_(Job.kind == SYNC_REPOSITORY, Job.organization_id == sync.organization_id)
    now = database_now()
    # Those too that a provider has wait: they are not synced, and it is told.
    due = sa.select(Job.subject_id).where(mine, sa.or_(Job.due_at <= now, Job.not_before > now))
    ids = [*db.session.scalars(due)]
    if sync.wanted is not None or sync.integration_id is not None:
        planned = {action.repository_id for action in sync.actions}
        names = [action.values["name"] for action in sync.actions if action.repository_id is None]
        new = sa.select(Repository.id).where(Repository.organization_id == sync.organization_id)
        planned |= {*db.session.scalars(new.where(Repository.name.in_(names)))}
        ids = [row_id for row_id in ids if row_id in planned]
    release_connection()
    if not ids:
        return 0, []
    if current_settings().scm_mirrors is None:
        _note("GRPC_SCM_MIRRORS is not set: nothing is fetched")
    only = sa.and_(mine, Job.subject_id.in_(ids))
    with click.progressbar(length=len(ids), label="syncing repositories", file=sys.stderr) as bar:
        for _ in run_all({SYNC_REPOSITORY: KINDS[SYNC_REPOSITORY]}, only):
            bar.update(1)
    failures = sa.select(Job.subject_id, Job.error, Repository.name).join(Repository, Repository.id == Job.subject_id)
    failed = [
        {"id": row.subject_id, "name": row.name, "error": row.error}
        for row in db.session.execute(failures.where(only, Job.error != "").order_by(Repository.name))
    ]
    return len(ids) - len(failed), failed


def run_all(kinds: Mapping[str, Kind], only: sa.ColumnElement[bool], attempts: int = MAX_ATTEMPTS) -> Iterator[None]:
    """Run jobs until none is due, yielding after each; wait for those of other workers, and between attempts."""
    while True:
        if run_due(kinds, only, limit=1, note=lambda line: None):
            yield
            continue
        now = database_now()
        open_jobs = sa.select(Job.claimed_until, Job.due_at).where(Job.kind.in_(kinds), only)
        is_claimed = sa.not_(is_free(now))
        is_tried_again = sa.and_(Job.error != "", Job.attempts < attempts, Job.due_at <= now + LONGEST_WAIT)
        waiting = db.session.execute(open_jobs.where(sa.or_(is_claimed, is_tried_again, Job.due_at <= now))).all()
        release_connection()
        if not waiting:
            return
        time.sleep(POLL_SECONDS)


def _finish(
    as_json: bool,
    sync: OrganizationSync,
    synced: Mapping[str, int],
    failed: Sequence[Mapping[str, Any]],
    *,
    is_dry: bool = False,
) -> None:
    errors = [printable(error.private) for error in sync.errors]
    missed = [] if errors or sync.wanted is None else sorted({*sync.wanted} - sync.found)
    if missed:
        names = ", ".join(printable(repr(name)) for name in missed)
        errors.append(
            f"no repository that is listed has the name or id {names}; run it without --repository to see all"
        )
        _note(errors[-1])
    changes = [action for action in sync.actions if action.kind != "keep"]
    counts = Counter(action.kind for action in sync.actions)
    lines = [_line(action) for action in changes]
    lines += [f"failed    {printable(str(fact['name']))}: {printable(str(fact['error']))}" for fact in failed]
    numbers = [f"{number} {PAST[kind]}" for kind, number in counts.items()]
    summary = ", ".join([*numbers, *(f"{number} {what}" for what, number in synced.items())])
    lines.append(f"would be {summary}" if is_dry and numbers else summary or "nothing is listed")
    print_result(
        as_json,
        "\n".join(lines),
        actions=[_facts(action) for action in changes],
        counts=dict(counts),
        failed=list(failed),
        errors=errors,
        **synced,
    )
    if errors or failed:
        click.get_current_context().exit(1)


def _line(action: Action) -> str:
    row = f"  ({action.repository_id})" if action.repository_id is not None else ""
    reason = f": {action.reason}" if action.reason else ""
    return printable(f"{action.kind:9} {action.name}{row}{reason}")


def _facts(action: Action) -> dict[str, Any]:
    return {"action": action.kind, "name": action.name, "id": action.repository_id, "reason": action.reason}
