"""SQLite's file, deleted or replaced under an app that has it open: no write is acknowledged that nobody can read."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import GrpcWebScm, RpcError, StatusCode
from flask_grpcweb_scm.scm import CodeMapping, db
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.support import Scm, Tenant, add_tenant, make_app


@pytest.fixture
def database(sqlite_databases: SqliteDatabases) -> Iterator[str]:
    uri = sqlite_databases.create()
    yield uri
    sqlite_databases.drop(uri)


numbers = itertools.count()


@pytest.fixture
def file(database: str) -> Path:
    return Path(database.removeprefix("sqlite:///"))


def write(scm: Scm, tenant: Tenant) -> str:
    """Store a code mapping; gives its stack root."""
    root = f"root{next(numbers)}/"
    fields = {"project_id": tenant.project, "repository_id": tenant.repository, "stack_root": root}
    scm("CreateCodeMapping", organization_id=tenant.organization, **fields)
    return root


def is_refused(scm: Scm, tenant: Tenant) -> bool:
    with pytest.raises(RpcError) as caught:
        write(scm, tenant)
    return caught.value.code == StatusCode.UNAVAILABLE


def roots(file: Path) -> set[str]:
    with sqlite3.connect(file) as connection:
        found = {root for (root,) in connection.execute("SELECT stack_root FROM scm_code_mapping")}
    connection.close()
    return found


def copy(file: Path, to: Path) -> Path:
    """As an operator makes one, while the server writes."""
    source, target = sqlite3.connect(file), sqlite3.connect(to)
    source.backup(target)
    source.close()
    target.close()
    return to


def files_of(file: Path) -> list[Path]:
    return [file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")]


def test_a_deleted_file_is_no_database_until_there_is_one_again(
    scm: Scm, ours: Tenant, file: Path, tmp_path: Path
) -> None:
    first = write(scm, ours)
    backup = copy(file, tmp_path / "backup")
    for path in files_of(file):
        path.unlink()
    assert is_refused(scm, ours)
    assert is_refused(scm, ours)
    scm.error(StatusCode.UNAVAILABLE, "GetRepository", repository_id=ours.repository)
    assert not file.exists()
    backup.replace(file)
    second = write(scm, ours)
    assert roots(file) == {first, second}


def test_a_file_that_was_moved_away_and_back_is_the_same(scm: Scm, ours: Tenant, file: Path, tmp_path: Path) -> None:
    first = write(scm, ours)
    file.rename(tmp_path / "away")
    assert is_refused(scm, ours)
    (tmp_path / "away").rename(file)
    second = write(scm, ours)
    assert roots(file) == {first, second}


def test_a_replaced_file_is_opened(scm: Scm, ours: Tenant, file: Path, tmp_path: Path) -> None:
    first = write(scm, ours)
    backup = copy(file, tmp_path / "backup")
    lost = write(scm, ours)
    for path in files_of(file):
        path.unlink()
    backup.rename(file)
    second = write(scm, ours)
    assert roots(file) == {first, second}
    assert lost not in roots(file)


def test_a_replaced_file_with_the_log_of_the_old_one_is_not_opened(
    scm: Scm, ours: Tenant, file: Path, tmp_path: Path
) -> None:
    first = write(scm, ours)
    copy(file, tmp_path / "backup").replace(file)
    assert is_refused(scm, ours)
    assert is_refused(scm, ours)
    for path in files_of(file)[1:]:
        path.unlink()
    second = write(scm, ours)
    assert roots(file) == {first, second}


@pytest.mark.parametrize("replace", [True, False])
def test_a_write_is_not_acknowledged_when_the_file_goes_before_its_commit(
    app: Flask, scm: Scm, ours: Tenant, file: Path, tmp_path: Path, replace: bool
) -> None:
    write(scm, ours)
    backup = copy(file, tmp_path / "backup")

    def remove(*_: Any) -> None:
        for path in files_of(file):
            path.unlink()
        if replace:
            backup.rename(file)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "commit", remove, once=True)
    assert is_refused(scm, ours)
    if replace:
        root = write(scm, ours)
        assert root in roots(file)


@pytest.mark.needs("time")
def test_no_write_of_many_is_acknowledged_after_the_end_of_the_file(
    app: Flask, scm: Scm, ours: Tenant, file: Path, tmp_path: Path
) -> None:
    os.link(file, tmp_path / "linked")
    gone, stop = threading.Event(), threading.Event()

    def work() -> tuple[set[str], int]:
        acknowledged, refused = set(), 0
        while not stop.is_set():
            is_gone = gone.is_set()
            try:
                root = write(scm, ours)
                assert not is_gone
                acknowledged.add(root)
            except RpcError as error:
                assert error.code == StatusCode.UNAVAILABLE
                refused += 1
        return acknowledged, refused

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(work) for _ in range(8)]
        while next(numbers) < 300:
            threading.Event().wait(0.01)
        file.unlink()
        gone.set()
        threading.Event().wait(0.3)
        stop.set()
        results = [worker.result() for worker in workers]
    assert all(refused for _, refused in results)
    with app.app_context():
        db.engine.dispose()
    # The log has the writes that were acknowledged, and belongs to the file.
    files_of(file)[1].rename(tmp_path / "linked-wal")
    acknowledged = set().union(*(roots for roots, _ in results))
    assert acknowledged <= roots(tmp_path / "linked")


def test_an_engine_that_is_disposed_of_makes_a_new_file(tmp_path: Path) -> None:
    with disposed(make_app(f"sqlite:///{tmp_path}/new.db")) as app, app.app_context():
        for _ in range(2):
            db.create_all()
            assert add_tenant("ours")
            db.session.remove()
            db.engine.dispose()
            for path in files_of(tmp_path / "new.db"):
                path.unlink(missing_ok=True)


@pytest.mark.parametrize("has_own", [False, True], ids=["our instance", "the app's instance"])
def test_no_call_makes_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture, has_own: bool) -> None:
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/new.db", GRPC_METRICS_PATH="/metrics")
    app.testing = True
    GrpcWebScm(app, db=SQLAlchemy() if has_own else None)
    with disposed(app):
        Scm(app).error(StatusCode.UNAVAILABLE, "GetRepository", repository_id=1)
        assert app.test_client().get("/metrics").status_code == 200
        assert list(tmp_path.iterdir()) == []
        assert f"{tmp_path}/new.db does not exist; run `flask db upgrade`, or `flask scm init-db`" in caplog.text
        assert app.test_cli_runner().invoke(args=["scm", "init-db"]).exit_code == 0
        assert has_own or modes(tmp_path)["new.db"] == 0o600
        Scm(app).error(StatusCode.NOT_FOUND, "GetRepository", repository_id=1)


def test_databases_without_a_path_are_not_watched(tmp_path: Path) -> None:
    for uri in ("sqlite://", f"sqlite:///file:{tmp_path}/named.db?uri=true"):
        with disposed(make_app(uri)) as app, app.app_context():
            db.create_all()
            tenant = add_tenant("ours")
            assert db.session.scalars(sa.select(sa.func.count()).select_from(CodeMapping)).one() == 0
            assert tenant.organization


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("uri", ["sqlite:///own.db", "sqlite:///file:own.db?uri=true", "sqlite+pysqlite:///own.db"])
def test_a_new_file_its_log_and_its_folder_are_their_owners_alone(tmp_path: Path, umask: int, uri: str) -> None:
    folder = tmp_path / "instance"
    previous = os.umask(umask)
    try:
        app = Flask(__name__, instance_path=str(folder))
        app.config.update(SQLALCHEMY_DATABASE_URI=uri, GRPC_REQUIRE_AUTH=False)
        GrpcWebScm().init_app(app)
        assert app.test_cli_runner().invoke(args=["scm", "init-db"]).exit_code == 0
        with app.app_context():
            db.session.execute(sa.text("SELECT 1"))  # keeps the log
            found = modes(folder)
            db.session.remove()
            db.engine.dispose()
    finally:
        os.umask(previous)
    assert found == {"instance": 0o700, "own.db": 0o600, "own.db-wal": 0o600, "own.db-shm": 0o600}


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "own.db"
    file.touch(0o640)
    file.chmod(0o640)
    tmp_path.chmod(0o750)
    with disposed(make_app(f"sqlite:///{file}")) as app, app.app_context():
        db.create_all()
        found = modes(tmp_path)
    assert (found["own.db"], found[tmp_path.name]) == (0o640, 0o750)


def test_a_file_that_cannot_be_made_is_an_error_of_the_database(tmp_path: Path) -> None:
    with disposed(make_app(f"sqlite:///{tmp_path}/missing/own.db")) as app, app.app_context():
        with pytest.raises(sa.exc.OperationalError, match="unable to open database file"):
            db.create_all()
        assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["", "/:memory:", "/file:own.db?mode=memory&uri=true"])
def test_a_database_in_memory_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite://{name}", GRPC_REQUIRE_AUTH=False)
    GrpcWebScm().init_app(app)
    with app.app_context():
        db.create_all()
        db.engine.dispose()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
