"""``flask scm worker``, ``jobs`` and ``mirrors``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Job, Repository, db
from flask_grpcweb_scm.scm.cli import jobs
from flask_grpcweb_scm.scm.jobs import RESUME_OUTBOX, SYNC_REPOSITORY, Kind, make_due
from flask_grpcweb_scm.scm.mirrors import places_below
from tests.combinations import ON_SQLITE
from tests.documents import ROOT
from tests.scm.cli.test_rows import run
from tests.scm.databases import disposed
from tests.scm.mirrors.git_server import GitServer, Handler, serve_git
from tests.scm.support import GitRepository, add_organization, make_app

SECONDS = 60.0


@pytest.fixture
def app(database: str, tmp_path: Path) -> Iterator[Flask]:
    config = {"GRPC_SCM_MIRRORS": str(tmp_path / "mirrors"), "GRPC_SCM_ALLOWED_HOSTS": ["127.0.0.1"]}
    with disposed(make_app(database, **config)) as app:
        yield app


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    for name in ("api", "web"):
        GitRepository(tmp_path / f"remotes/{name}.git").commit("first")
    with serve_git(tmp_path / "remotes") as server:
        yield server


@pytest.fixture
def repositories(app: Flask, git_server: GitServer) -> list[int]:
    """The ids of two repositories that are due, and of one that does not exist at its host."""
    organization = add_organization(app)
    with app.app_context():
        rows = [
            Repository(organization_id=organization, name=name, url=f"{git_server.url}/{name}.git")
            for name in ("api", "web", "gone")
        ]
        db.session.add_all(rows)
        db.session.flush()
        for row in rows:
            make_due(SYNC_REPOSITORY, row.id, organization_id=organization)
        db.session.commit()
        return [row.id for row in rows]


def facts(app: Flask, *arguments: str) -> Any:
    result = run(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_worker_ends_with_the_first_of_its_threads_that_fails(app: Flask) -> None:
    """By the app's own functions, say; whoever has started it starts it again."""
    failed: list[threading.Thread] = []

    @app.teardown_appcontext
    def fail(error: BaseException | None) -> None:
        thread = threading.current_thread()
        if thread is not threading.main_thread() and not failed:
            failed.append(thread)
            raise RuntimeError("of the app")

    result = run(app, "worker", "--threads", "3")
    assert result.exit_code == 1
    assert repr(result.exception) == "RuntimeError('of the app')"


def test_a_worker_works_off_what_is_due(app: Flask, repositories: list[int]) -> None:
    api, _, gone = repositories
    assert {(job["kind"], job["subject_id"], job["state"]) for job in facts(app, "jobs")["jobs"]} == {
        (SYNC_REPOSITORY, row, "due") for row in repositories
    }
    first = run(app, "worker", "--once")
    assert first.stdout == "jobs run: 1\n"
    assert f" sync_repository {api}: done in " in first.stderr
    rest = run(app, "worker", "--until-idle", "--threads", "2")
    assert rest.stdout == "jobs run: 3\n"
    assert f" sync_repository {gone}: failed, and due again in " in rest.stderr
    (failing,) = facts(app, "jobs")["jobs"]
    assert (failing["repository"], failing["organization"], failing["state"]) == ("gone", "acme", "failing")
    assert "it is not there, or the integration's credentials do not reach it" in failing["error"]
    assert {(job["kind"], job["state"]) for job in facts(app, "jobs", "--all")["jobs"]} == {
        (SYNC_REPOSITORY, "waiting"), (SYNC_REPOSITORY, "failing"), (RESUME_OUTBOX, "waiting"),
    }  # fmt: skip
    lines = run(app, "jobs").stdout.splitlines()
    assert lines[0].startswith(f"{failing['id']}  sync_repository {gone}  acme  gone  failing, due ")
    assert len(lines) == 1


def test_without_tables_the_way_out_is_said(empty_database: str) -> None:
    with disposed(make_app(empty_database)) as app:
        for arguments in (["worker", "--once"], ["jobs"]):
            result = run(app, *arguments)
            assert (result.exit_code, result.stderr) == (
                1, "Error: the tables do not exist yet; run: flask scm init-db\n",
            )  # fmt: skip


def test_a_worker_outlives_its_database(
    app: Flask, repositories: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def move(before: str, after: str) -> None:
        with app.app_context():
            db.session.execute(sa.text(f"ALTER TABLE {before} RENAME TO {after}"))
            db.session.commit()

    def wait_for(text: str) -> None:
        until, errors = time.monotonic() + SECONDS, ""
        while text not in errors and time.monotonic() < until:
            errors += capsys.readouterr().err
            time.sleep(0.02)
        assert text in errors

    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "OUTAGE_SECONDS", 0.05)
    stop = threading.Event()
    move("scm_job", "scm_job_elsewhere")
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(jobs._work, app, stop, until_idle=False)
        try:
            wait_for("the database failed: ")
            move("scm_job_elsewhere", "scm_job")
            wait_for(f"sync_repository {repositories[-1]}: failed")
        finally:
            stop.set()
        assert worker.result() == len(repositories)


@pytest.mark.needs("time")
def test_mirrors(app: Flask, repositories: list[int], tmp_path: Path) -> None:
    api, web, _ = repositories
    assert run(app, "mirrors", "list").stdout == "there are no mirrors\n"
    run(app, "worker", "--until-idle")
    first, second = facts(app, "mirrors", "list")["mirrors"]
    assert [(row["id"], row["repository"], row["is_here"]) for row in (first, second)] == [
        (api, "api", True), (web, "web", True),
    ]  # fmt: skip
    assert first["bytes"] > 0
    assert [row["path"] for row in (first, second)] == [*map(str, places_below(tmp_path / "mirrors"))]
    assert run(app, "mirrors", "verify").stdout == "no mirror is damaged\n"
    shutil.rmtree(Path(first["path"], "objects"))
    damaged = run(app, "mirrors", "verify")
    assert damaged.exit_code == 1
    assert damaged.stdout.startswith(f"{api}  api  {first['path']}: ")
    assert run(app, "mirrors", "verify", "--repair").exit_code == 0
    assert "not here" in run(app, "mirrors", "list").stdout.splitlines()[0]
    assert run(app, "worker", "--until-idle").stdout == "jobs run: 2\n"
    assert run(app, "mirrors", "verify", "--full").stdout == "no mirror is damaged\n"


@ON_SQLITE
def test_mirrors_of_repositories_that_are_gone_are_deleted(app: Flask, repositories: list[int], tmp_path: Path) -> None:
    api, web, _ = repositories
    run(app, "worker", "--until-idle")
    (tmp_path / "mirrors/0/README").write_text("not ours")
    (tmp_path / "mirrors/other").mkdir()
    assert run(app, "mirrors", "prune").stdout == "there is nothing to delete\n"
    assert run(app, "delete", "repository", "acme", str(api), "--yes").exit_code == 0
    (here, _) = places_below(tmp_path / "mirrors")
    assert run(app, "mirrors", "prune", "--dry-run").stdout == f"{here}: 0.0 MiB would be deleted\n"
    assert [*facts(app, "mirrors", "prune")["deleted"]] == [str(here)]
    assert [row["id"] for row in facts(app, "mirrors", "list")["mirrors"]] == [web]
    assert sorted(path.name for path in (tmp_path / "mirrors/0").iterdir() if f"{api}-" in path.name) == []
    assert (tmp_path / "mirrors/0/README").exists()


def test_without_a_folder_of_mirrors(database: str) -> None:
    with disposed(make_app(database)) as app:
        for arguments in (["list"], ["verify"], ["prune"]):
            result = run(app, "mirrors", *arguments)
            assert result.exit_code == 1
            assert "set GRPC_SCM_MIRRORS to an absolute path" in result.stderr


@pytest.mark.needs("processes that are killed")
def test_a_signal_that_comes_to_another_thread_ends_a_worker(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(*_: object) -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    monkeypatch.setitem(jobs.KINDS, RESUME_OUTBOX, Kind(send, lambda: 3600.0))  # type: ignore[arg-type]
    assert facts(app, "worker") == {"jobs": 1}


@ON_SQLITE
@pytest.mark.needs("time")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_when_it_is_told_to(
    app: Flask, database: str, repositories: list[int], git_server: GitServer, shell_path: str, tmp_path: Path,
    number: signal.Signals,
) -> None:  # fmt: skip
    """In the middle of a fetch: git is gone, and the job is due for the next worker."""

    def hang(handler: Handler) -> None:
        time.sleep(SECONDS)

    git_server.fault = hang
    environment = {
        **os.environ, "PATH": shell_path, "FLASK_SQLALCHEMY_DATABASE_URI": database, "FLASK_SECRET_KEY": "x",
        "FLASK_GRPC_SCM_MIRRORS": str(tmp_path / "mirrors"), "FLASK_GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
    }  # fmt: skip
    command = ["python", "-m", "flask", "--app", "tests.scm.served_app:create_app", "scm", "worker"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        until = time.monotonic() + SECONDS
        while not git_server.requests and time.monotonic() < until:
            time.sleep(0.05)
        worker.send_signal(number)
        _, errors = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0, errors
    assert "stopped, and due again" in errors
    with app.app_context():
        assert db.session.scalars(sa.select(Job.claimed_until).where(Job.claimed_until.is_not(None))).all() == []
    git_server.fault = None
    run(app, "worker", "--until-idle")
    assert len(facts(app, "mirrors", "list")["mirrors"]) == 2
