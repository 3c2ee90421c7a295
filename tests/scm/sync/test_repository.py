"""The sync of a repository, from a real git server into a mirror and the database."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import Integration, Job, OrganizationIntegration, Repository, RepositoryStatus, db
from flask_grpcweb_scm.scm.jobs import SYNC_REPOSITORY, make_due, run_due
from flask_grpcweb_scm.scm.mirrors import places_below
from flask_grpcweb_scm.scm.providers import Credential
from flask_grpcweb_scm.scm.sources import own_mirror_path
from flask_grpcweb_scm.scm.sync import KINDS
from tests.combinations import ON_SQLITE
from tests.scm.databases import disposed
from tests.scm.git_import.test_git_import import as_git_log_says, stored
from tests.scm.mirrors.git_server import GitServer, git_server, origin
from tests.scm.providers.test_proxy import proxying
from tests.scm.support import GitRepository, Scm, make_app

__all__ = ["git_server", "origin"]

pytestmark = pytest.mark.needs("time")

SECRET = "ghs_VerySecretToken"


@pytest.fixture
def app(database: str, tmp_path: Path) -> Iterator[Flask]:
    config = {
        "GRPC_SCM_MIRRORS": str(tmp_path / "mirrors"),
        "GRPC_SCM_ALLOWED_HOSTS": ["127.0.0.1", "localhost"],
        "GRPC_SCM_CREDENTIALS": {"bot": SECRET},
    }
    with disposed(make_app(database, **config)) as app:
        yield app


@pytest.fixture
def repository(app: Flask, organization: int, git_server: GitServer, origin: GitRepository) -> int:
    """The id of a repository whose remote is `origin`."""
    return add_repository(app, organization, f"{git_server.url}/acme/api.git")


def add_repository(app: Flask, organization: int, url: str, **columns: Any) -> int:
    with app.app_context():
        row = Repository(organization_id=organization, name="acme/api", url=url, **columns)
        db.session.add(row)
        db.session.commit()
        return row.id


def sync(app: Flask, repository: int) -> list[str]:
    """Have a repository synced; gives what the worker notes."""
    lines: list[str] = []
    with app.app_context():
        make_due(SYNC_REPOSITORY, repository)
        db.session.commit()
        assert run_due(KINDS, note=lines.append) == 1
    return lines


def error_of(app: Flask, repository: int) -> str:
    with app.app_context():
        return db.session.scalars(sa.select(Job.error).filter_by(subject_id=repository)).one()


def place(app: Flask, repository: int) -> Path:
    with app.app_context():
        path = own_mirror_path(db.session.get_one(Repository, repository))
        assert path is not None
        return path


def change(app: Flask, repository: int, **columns: Any) -> None:
    with app.app_context():
        for name, value in columns.items():
            setattr(db.session.get_one(Repository, repository), name, value)
        db.session.commit()


def test_it_is_as_git_says(app: Flask, repository: int, origin: GitRepository) -> None:
    lines = sync(app, repository)
    assert stored(app) == as_git_log_says(origin)
    assert lines[-1].startswith(f"sync_repository {repository}: done in ")
    with app.app_context():
        row = db.session.get_one(Repository, repository)
        assert row.default_branch == "main"
        assert row.mirror_path is None
        assert row.mirror_fetched_at is not None
        assert db.session.scalars(sa.select(Job.error)).all() == [""]
    origin.write("new", "new\n")
    origin.commit("new")
    sync(app, repository)
    assert stored(app) == as_git_log_says(origin)


@ON_SQLITE
def test_commits_that_a_force_push_takes_away_stay(app: Flask, repository: int, origin: GitRepository) -> None:
    sync(app, repository)
    before = stored(app)
    origin.git("reset", "--quiet", "--hard", "HEAD~2")
    origin.write("README", "another way\n")
    origin.commit("another way")
    origin.git("branch", "--move", "main", "trunk")
    sync(app, repository)
    assert stored(app) == {**before, **as_git_log_says(origin)}
    with app.app_context():
        assert db.session.get_one(Repository, repository).default_branch == "trunk"


@ON_SQLITE
def test_blame_reads_the_mirror(app: Flask, scm: Scm, repository: int, origin: GitRepository) -> None:
    asked = {"repository_id": repository, "commit_sha": origin.head(), "filepath": "README", "line_number": 1}
    scm.error(StatusCode.NOT_FOUND, "GetCommitContext", **asked)
    sync(app, repository)
    blamed = origin.git("log", "--format=%H", "--grep=^on main$")
    shutil.rmtree(origin.path)
    context = scm("GetCommitContext", **asked)
    assert (context.blame_commit_id, context.approximate) == (blamed, False)


def test_it_replaces_a_clone_that_was_imported_by_hand(
    app: Flask, organization: int, repository: int, origin: GitRepository, tmp_path: Path
) -> None:
    change(app, repository, mirror_path=str(tmp_path / "gone"))
    sync(app, repository)
    assert stored(app) == as_git_log_says(origin)
    with app.app_context():
        row = db.session.get_one(Repository, repository)
        assert row.mirror_path == str(tmp_path / "gone")


@pytest.mark.parametrize("status", [RepositoryStatus.HIDDEN, RepositoryStatus.PENDING_DELETION])
def test_what_callers_do_not_see_is_not_synced(
    app: Flask, repository: int, git_server: GitServer, status: RepositoryStatus
) -> None:
    change(app, repository, status=status)
    assert sync(app, repository) == [f"sync_repository {repository}: not needed any longer"]
    assert git_server.requests == []
    with app.app_context():
        assert db.session.scalars(sa.select(Job)).all() == []


def test_a_repository_that_is_gone_has_neither_a_job_nor_a_mirror(app: Flask, repository: int, tmp_path: Path) -> None:
    assert sync(app, 4711) == ["sync_repository 4711: not needed any longer"]
    sync(app, repository)
    assert len(places_below(tmp_path / "mirrors")) == 1
    with app.app_context():
        db.session.execute(sa.text("DELETE FROM scm_repository"))
        db.session.commit()
    assert sync(app, repository) == [f"sync_repository {repository}: not needed any longer"]
    assert places_below(tmp_path / "mirrors") == []
    with app.app_context():
        assert db.session.scalars(sa.select(Job)).all() == []


@ON_SQLITE
def test_an_id_that_is_given_again_has_no_part_in_the_old_mirror(
    app: Flask, organization: int, repository: int, git_server: GitServer, tmp_path: Path
) -> None:
    sync(app, repository)
    old = place(app, repository)
    with app.app_context():
        db.session.execute(sa.text("DELETE FROM scm_repository"))
        db.session.commit()
    other = GitRepository(tmp_path / "remotes/other.git")
    other.commit("other")
    assert add_repository(app, organization, f"{git_server.url}/other.git", id=repository) == repository
    assert place(app, repository) != old
    sync(app, repository)
    assert stored(app) == as_git_log_says(other)


def test_without_a_folder_the_error_says_the_way_out(
    database: str, app: Flask, repository: int, git_server: GitServer
) -> None:
    with disposed(make_app(database)) as without:
        sync(without, repository)
    assert error_of(app, repository) == (
        "the service has no folder for mirrors; set GRPC_SCM_MIRRORS to an absolute path"
    )
    assert git_server.requests == []


@ON_SQLITE
def test_errors_are_stored_and_the_next_sync_is_as_if_there_were_none(
    app: Flask, repository: int, git_server: GitServer, origin: GitRepository
) -> None:
    git_server.fault = lambda handler: handler.respond(503)
    sync(app, repository)
    assert "cannot be fetched: its host failed" in error_of(app, repository)
    git_server.fault = None
    sync(app, repository)
    assert error_of(app, repository) == ""
    assert stored(app) == as_git_log_says(origin)


@ON_SQLITE
@pytest.mark.parametrize(
    ("api", "user"),
    [
        ("http://127.0.0.1:{port}/api/v3", "oauth2"),
        ("http://127.0.0.1:{other}/api/v3", None),
        ("http://localhost:{port}", None),
        # The remote has http, its host may, and no token is to go there by that.
        ("https://127.0.0.1:{port}", None),
        ("", None),
    ],
)
def test_credentials_go_to_the_host_of_their_api_alone(
    app: Flask, organization: int, repository: int, git_server: GitServer, api: str, user: str | None
) -> None:
    base_url = api.format(port=git_server.server_port, other=git_server.server_port + 1)
    with app.app_context():
        metadata = {"base_url": base_url, "credentials": "bot"}
        integration = Integration(provider="gitlab", external_id="1", metadata_=metadata)
        db.session.add(integration)
        db.session.flush()
        db.session.add(OrganizationIntegration(organization_id=organization, integration_id=integration.id))
        db.session.commit()
        integration_id = integration.id
    change(app, repository, integration_id=integration_id)
    sync(app, repository)
    expected = "" if user is None else Credential(user=user, password=SECRET).authorization()
    assert {sent for _, _, sent in git_server.requests} == {expected}


@ON_SQLITE
@pytest.mark.parametrize("direct", [(), ("127.0.0.1",)])
def test_git_goes_through_the_proxy_too(
    database: str,
    repository: int,
    origin: GitRepository,
    git_server: GitServer,
    tmp_path: Path,
    direct: tuple[str, ...],
) -> None:
    with proxying() as proxy:
        config = {
            "GRPC_SCM_MIRRORS": str(tmp_path / "mirrors"),
            "GRPC_SCM_ALLOWED_HOSTS": ["127.0.0.1"],
            "GRPC_SCM_PROXY": proxy.url,
            "GRPC_SCM_NO_PROXY": direct,
        }
        with disposed(make_app(database, **config)) as app:
            sync(app, repository)
            assert stored(app) == as_git_log_says(origin)
    assert bool(proxy.heads) != bool(direct)
    assert {head.split("\r\n")[0] for head in proxy.heads} <= {f"CONNECT 127.0.0.1:{git_server.server_port} HTTP/1.1"}


def lose_a_pack(git_dir: Path) -> None:
    for pack in (git_dir / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])


def lose_all_objects(git_dir: Path) -> None:
    shutil.rmtree(git_dir / "objects")
    (git_dir / "objects").mkdir()


def leave_locks(git_dir: Path) -> None:
    """As a git does that was killed."""
    (git_dir / "objects/info").mkdir(exist_ok=True)
    names = ("HEAD.lock", "packed-refs.lock", "refs/heads/main.lock", "shallow.lock", "gc.pid.lock", "config.lock")
    for name in (*names, "objects/info/commit-graphs/commit-graph-chain.lock", "objects/pack/tmp_pack_x"):
        (git_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (git_dir / name).write_text("")


def lose_the_configuration(git_dir: Path) -> None:
    (git_dir / "config").unlink()


def lose_head(git_dir: Path) -> None:
    (git_dir / "HEAD").unlink()


def write_nonsense_into_head(git_dir: Path) -> None:
    (git_dir / "HEAD").write_bytes(b"\0" * 41)


def empty_a_branch(git_dir: Path) -> None:
    """As after a loss of power."""
    (git_dir / "refs/heads").mkdir(parents=True, exist_ok=True)
    (git_dir / "refs/heads/main").write_text("")


def write_nonsense_into_the_names(git_dir: Path) -> None:
    (git_dir / "packed-refs").write_bytes(b"\0" * 500)


def write_nonsense_into_the_graph(git_dir: Path) -> None:
    for graph in (git_dir / "objects/info/commit-graphs").glob("*.graph"):
        graph.chmod(0o600)
        graph.write_bytes(graph.read_bytes()[:40] + b"\xff" * (graph.stat().st_size - 40))


def lose_the_graph(git_dir: Path) -> None:
    shutil.rmtree(git_dir / "objects/info/commit-graphs")


def lose_everything(git_dir: Path) -> None:
    shutil.rmtree(git_dir)


DAMAGES: list[Callable[[Path], None]] = [
    lose_a_pack, lose_all_objects, leave_locks, lose_the_configuration, lose_head, lose_the_graph, lose_everything,
    write_nonsense_into_head, empty_a_branch, write_nonsense_into_the_names, write_nonsense_into_the_graph,
]  # fmt: skip


@ON_SQLITE
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("has_news", [True, False])
def test_a_damaged_mirror_is_fetched_anew(
    app: Flask, repository: int, origin: GitRepository, damage: Callable[[Path], None], has_news: bool
) -> None:
    sync(app, repository)
    damage(place(app, repository))
    if has_news:
        origin.write("news", "new\n")
        origin.commit("news")
    sync(app, repository)
    sync(app, repository)
    assert error_of(app, repository) == ""
    assert stored(app) == as_git_log_says(origin)
    assert not [*place(app, repository).rglob("*.lock")]
    result = app.test_cli_runner().invoke(args=["scm", "mirrors", "verify", "--full"])
    if has_news or result.exit_code == 0:
        assert result.output == "no mirror is damaged\n"
    else:
        # Nobody has read it since.
        assert damage is lose_a_pack
        repaired = app.test_cli_runner().invoke(args=["scm", "mirrors", "verify", "--repair"])
        assert repaired.exit_code == 0
        with app.app_context():
            assert run_due(KINDS) == 1
        assert app.test_cli_runner().invoke(args=["scm", "mirrors", "verify"]).exit_code == 0


@ON_SQLITE
def test_a_blobless_mirror_has_the_history_and_no_files(
    app: Flask, repository: int, git_server: GitServer, origin: GitRepository
) -> None:
    change(app, repository, config={"blobless": True})
    sync(app, repository)
    assert stored(app) == as_git_log_says(origin)
    requests = len(git_server.requests)
    missing = GitRepository.git(
        origin, f"--git-dir={place(app, repository)}", "rev-list", "--objects", "--missing=print", "HEAD"
    )
    assert "?" in missing
    assert len(git_server.requests) == requests
    change(app, repository, config={})
    sync(app, repository)
    assert stored(app) == as_git_log_says(origin)
    complete = GitRepository.git(
        origin, f"--git-dir={place(app, repository)}", "rev-list", "--objects", "--missing=print", "HEAD"
    )
    assert "?" not in complete
