"""``flask scm worker``, ``jobs`` and ``mirrors``: what the service does by itself."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, print_result, scm_cli
from flask_grpcweb_scm.scm.database.db import database_now, db
from flask_grpcweb_scm.scm.database.models import Integration, Job, Repository
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES, RESUME_OUTBOX, SYNC_REPOSITORY, is_free, make_due, run_due
from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror, places_below, size_of
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import own_mirror_path
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.transactions import reason_of

__all__ = ["list_jobs", "list_mirrors", "prune_mirrors", "verify_mirrors", "worker_command"]

POLL_SECONDS = 0.5
"""Between two looks at what is due."""
OUTAGE_SECONDS = 5.0


@command("worker")
@click.option("--once", is_flag=True, help="Run one job, if one is due, and end.")
@click.option("--until-idle", is_flag=True, help="End once no job is due.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Jobs at a time.")
def worker_command(once: bool, until_idle: bool, threads: int, as_json: bool) -> None:
    """Run the jobs that are due: syncs of organizations and repositories, and the outbox.

    Any number of workers may run, on any number of machines. SIGTERM and Ctrl-C end it: the job that is under way stops
    where it is, and is due again.
    """
    make_due(RESUME_OUTBOX)
    db.session.commit()
    app = current_app.app_context().app
    with _stopped_by_signals() as stop:
        if once:
            count = run_due(KINDS, limit=1, stop=stop, note=_note)
        else:
            with ThreadPoolExecutor(threads) as pool:
                running = [pool.submit(_work, app, stop, until_idle=until_idle) for _ in range(threads)]
                # Again and again, for a signal may come to another thread, and is handled once this one runs.
                while wait(running, timeout=POLL_SECONDS).not_done:
                    pass
                count = sum(each.result() for each in running)
    print_result(as_json, f"jobs run: {count}", jobs=count)


def _work(app: Flask, stop: threading.Event, *, until_idle: bool) -> int:
    count = 0
    try:
        while not stop.is_set():
            pause = POLL_SECONDS
            with app.app_context():
                try:
                    done = run_due(KINDS, stop=stop, note=_note)
                except SQLAlchemyError as error:
                    _note(f"the database failed: {reason_of(error)}")
                    done, pause = 0, OUTAGE_SECONDS
                count += done
            if until_idle and done == 0 and pause == POLL_SECONDS:
                break
            stop.wait(pause)
    except BaseException:
        stop.set()  # else the other threads would hide it from whoever starts workers again
        raise
    return count


def _note(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {printable(text)}", err=True)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@command("jobs")
@click.option("--all", "everything", is_flag=True, help="Those too that are due later.")
def list_jobs(everything: bool, as_json: bool) -> None:
    """List the jobs that are running, due or failing."""
    now = database_now()
    is_running, is_due = sa.not_(is_free(now)), Job.due_at <= now
    is_repository = sa.and_(Job.kind == SYNC_REPOSITORY, Repository.id == Job.subject_id)
    is_integration = sa.and_(Job.kind == REFRESH_ISSUES, Integration.id == Job.subject_id)
    rows = sa.select(Job, Repository.name, Integration.name).options(joinedload(Job.organization))
    rows = rows.outerjoin(Repository, is_repository).outerjoin(Integration, is_integration)
    if not everything:
        rows = rows.where(sa.or_(is_running, is_due, Job.error != ""))
    facts = [
        {
            "id": job.id,
            "kind": job.kind,
            "subject_id": job.subject_id,
            "organization": job.organization.slug if job.organization is not None else "",
            "repository": repository or "",
            "integration": integration or "",
            "state": _state(job, now),
            "due": job.due_at.isoformat(timespec="seconds"),
            "attempts": job.attempts,
            "error": job.error,
            "succeeded": job.succeeded_at.isoformat(timespec="seconds") if job.succeeded_at is not None else "",
        }
        for job, repository, integration in db.session.execute(rows.order_by(Job.due_at, Job.id))
    ]
    line = "{id}  {kind} {subject_id}  {organization}  {repository}{integration}  {state}, due {due}"
    lines = [printable(line.format(**fact) + (f": {fact['error']}" if fact["error"] else "")) for fact in facts]
    print_result(as_json, "\n".join(lines) or "no job is running, due or failing", jobs=facts)


def _state(job: Job, now: Any) -> str:
    if job.claimed_until is not None and job.claimed_until > now:
        return "running"
    if job.error:
        return "failing"
    return "due" if job.due_at <= now else "waiting"


@scm_cli.group("mirrors")
def mirrors_cli() -> None:
    """List, check and delete the mirrors that the service has fetched."""


@command("list", mirrors_cli)
def list_mirrors(as_json: bool) -> None:
    """List the mirrors on this machine, and those that are not here."""
    found = [*_mirrors()]
    _check_folder()
    facts = [
        {
            "id": row.id,
            "organization": row.organization.slug,
            "repository": row.name,
            "path": str(path),
            "bytes": size_of(path),
            "fetched": row.mirror_fetched_at.isoformat(timespec="seconds") if row.mirror_fetched_at else "",
            "is_here": path.is_dir(),
        }
        for row, path in found
    ]
    line = "{id}  {organization}  {repository}  {place}  fetched {fetched}"
    lines = [
        printable(
            line.format(**fact, place=f"{_size(fact['bytes'])}  {fact['path']}" if fact["is_here"] else "not here")
        )
        for fact in facts
    ]
    print_result(as_json, "\n".join(lines) or "there are no mirrors", mirrors=facts)


@command("verify", mirrors_cli)
@click.option("--full", is_flag=True, help="Read all contents too, which is slow.")
@click.option("--repair", is_flag=True, help="Delete damaged mirrors, and have them fetched anew.")
def verify_mirrors(full: bool, repair: bool, as_json: bool) -> None:
    """Have git check the mirrors on this machine; exit with 1 when one is damaged."""
    found = [*_mirrors()]
    _check_folder()
    damaged = []
    for row, path in found:
        if not path.is_dir():
            continue
        organization_id, fact = row.organization_id, {"id": row.id, "repository": row.name, "path": str(path)}
        db.session.commit()
        mirror = OwnMirror(path, _limits())
        problem = mirror.problems(full=full)
        if not problem:
            continue
        damaged.append({**fact, "problem": problem})
        if repair:
            mirror.discard()
            make_due(SYNC_REPOSITORY, int(str(fact["id"])), organization_id=organization_id)
            db.session.commit()
    lines = [printable(f"{fact['id']}  {fact['repository']}  {fact['path']}: {fact['problem']}") for fact in damaged]
    print_result(as_json, "\n".join(lines) or "no mirror is damaged", damaged=damaged)
    if damaged and not repair:
        raise click.exceptions.Exit(1)


@command("prune", mirrors_cli)
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
def prune_mirrors(dry_run: bool, as_json: bool) -> None:
    """Delete mirrors of repositories that do not exist any more."""
    root = current_settings().scm_mirrors
    # Before the rows: the mirror of one that is added meanwhile is none of these.
    places = [] if root is None else places_below(Path(root))
    known = {path for _, path in _mirrors(everything=True)}
    _check_folder()
    db.session.commit()
    strangers = [path for path in places if path not in known]
    sizes = {str(path): size_of(path) for path in strangers}
    if not dry_run:
        for path in strangers:
            OwnMirror(path, _limits()).discard()
    did = "would be deleted" if dry_run else "deleted"
    lines = [f"{path}: {_size(size)} {did}" for path, size in sizes.items()]
    print_result(as_json, "\n".join(lines) or "there is nothing to delete", deleted=sizes)


def _check_folder() -> None:
    if current_settings().scm_mirrors is None:
        fail("the service has no folder for mirrors; set GRPC_SCM_MIRRORS to an absolute path")


def _mirrors(*, everything: bool = False) -> Iterator[tuple[Repository, Path]]:
    rows = sa.select(Repository).options(joinedload(Repository.organization)).order_by(Repository.id)
    if not everything:
        rows = rows.where(Repository.mirror_fetched_at.is_not(None))
    for row in db.session.scalars(rows).all():
        path = own_mirror_path(row)
        if path is not None:
            yield row, path


def _limits() -> Limits:
    return Limits(timeout=None, memory=current_settings().git_memory_bytes)


def _size(number: Any) -> str:
    return f"{number / 2**20:.1f} MiB"
