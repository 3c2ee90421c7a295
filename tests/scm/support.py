"""Apps with the SCM service, calls to it, and real git repositories."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from flask_grpcweb_scm import CallContext, GrpcWebScm, Identity, Metadata, RpcError, StatusCode
from flask_grpcweb_scm.scm import (
    CodeMapping,
    Organization,
    Repository,
    db,
)
from flask_grpcweb_scm.scm.providers import http
from flask_grpcweb_scm.testing import assert_rpc_error

# There are as many attempts at a provider, but nobody waits for them.
http.FIRST_PAUSE_SECONDS = 0.01

SERVICE = "/sentry.integrations.scm.v1.ScmService/"


class Statements(dict[Any, Any]):
    """Compiled statements for all engines of one dialect: a quarter of the time of a new app goes into these."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._shared(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(self._shared(key), compiled)

    @staticmethod
    def _shared(key: Any) -> Any:
        dialect, *statement = key
        return type(dialect), dialect.server_version_info, *statement


STATEMENTS = Statements()


def make_app(uri: str, **config: Any) -> Flask:
    app = Flask(__name__, static_folder=None)
    app.testing = True
    app.config.update(SQLALCHEMY_DATABASE_URI=uri, SECRET_KEY="test")
    app.config.update(config)
    GrpcWebScm().init_app(app)
    # Not as an option, which would take the place of the extension's own.
    with app.app_context():
        for engine in db.engines.values():
            engine.update_execution_options(compiled_cache=STATEMENTS)
    return app


class Scm:
    """ScmService of an app, with everything but the wire: interceptors, transaction, error codes."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def __call__(
        self,
        method: str,
        *,
        caller: Identity | None = None,
        metadata: Iterable[tuple[str, str]] = (),
        timeout: float | None = None,
        **fields: Any,
    ) -> Any:
        dispatcher = self.app.extensions["grpcweb_scm"].dispatcher
        rpc = dispatcher.methods[SERVICE + method]
        context = CallContext(rpc, caller=caller, metadata=Metadata(metadata), timeout=timeout)
        with self.app.app_context():
            try:
                answer = dispatcher.call(rpc, rpc.request_class(**fields), context)
                return list(answer) if rpc.server_streaming else answer
            except Exception as error:
                raise dispatcher.status_of(rpc, error) or error from error

    def error(self, code: StatusCode, method: str, **arguments: Any) -> RpcError:
        with assert_rpc_error(code) as caught:
            self(method, **arguments)
        return caught.value


@dataclass(frozen=True)
class Tenant:
    """The ids of an organization with one row of everything."""

    organization: int
    project: int
    group: int
    integration: int
    repository: int
    issue: int
    mapping: int = 0
    """See :func:`add_mapping`."""


def add_organization(app: Flask) -> int:
    with app.app_context():
        row = Organization(slug="acme")
        db.session.add(row)
        db.session.commit()
        return row.id


# As text, which SQLAlchemy need not compile for every new engine: most tests begin here.
TENANT = {
    "organization": "scm_organization (slug, name, date_added) VALUES ('{slug}', '', {now})",
    "integration": (
        "scm_integration (provider, external_id, name, metadata, date_added)"
        " VALUES ('jira', '{slug}', 'Jira', '{{}}', {now})"
    ),
    "installation": (
        "scm_organization_integration (organization_id, integration_id, config, date_added)"
        " VALUES ({organization}, {integration}, '{{}}', {now})"
    ),
    "project": "scm_project (organization_id, slug, name, date_added) VALUES ({organization}, 'web', '', {now})",
    "repository": (
        "scm_repository (organization_id, name, url, provider, config, status, date_added, default_branch)"
        " VALUES ({organization}, '{slug}/repository', '', '', '{{}}', 'active', {now}, '')"
    ),
    "issue": (
        "scm_external_issue (organization_id, integration_id, key, title, description, metadata, web_url, date_added)"
        " VALUES ({organization}, {integration}, 'T-1', 'Old', '', '{{}}', '', {now})"
    ),
    "group": "scm_group (project_id, short_id, title, first_seen) VALUES ({project}, 1, 'ValueError', {now})",
}


def add_tenant(slug: str) -> Tenant:
    """Needs an app context."""
    connection = db.session.connection()
    ids: dict[str, int] = {}
    for name, row in TENANT.items():
        insert = f"INSERT INTO {row.format(slug=slug, now='CURRENT_TIMESTAMP', **ids)} RETURNING id"
        ids[name] = connection.exec_driver_sql(insert).scalar_one()
    db.session.commit()
    del ids["installation"]
    return Tenant(**ids)


def add_mapping(tenant: Tenant) -> Tenant:
    """The tenant with a code mapping too. Needs an app context; commits."""
    row = CodeMapping(
        organization_id=tenant.organization,
        project_id=tenant.project,
        repository_id=tenant.repository,
        stack_root="/old",
    )
    db.session.add(row)
    db.session.commit()
    return dataclasses.replace(tenant, mapping=row.id)


def set_mirror(app: Flask, repository_id: int, git_dir: Path) -> int:
    with app.app_context():
        db.session.get_one(Repository, repository_id).mirror_path = str(git_dir)
        db.session.commit()
    return repository_id


class GitRepository:
    """A repository with a working tree, driven by git itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_600_000_000
        path.mkdir(parents=True, exist_ok=True)
        if (path / ".git").exists():
            return
        # Hundreds of tests begin here: without a process of git for each.
        _write_files(path, _new_repository())

    def git(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            capture_output=True,
            check=True,
            timeout=60,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.path),
                "GIT_CONFIG_NOSYSTEM": "1",
                # Another process after every commit and merge otherwise.
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "maintenance.auto",
                "GIT_CONFIG_VALUE_0": "false",
                "GIT_AUTHOR_NAME": "Ann Author",
                "GIT_AUTHOR_EMAIL": "Ann@Example.com",
                "GIT_COMMITTER_NAME": "Carl Committer",
                "GIT_COMMITTER_EMAIL": "carl@example.com",
                **environment,
            },
        )
        return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")

    def write(self, path: str, text: str | bytes) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def commit(self, message: str = "change", *, name: str = "Ann Author", email: str = "Ann@Example.com") -> str:
        self.git("add", "--all")
        self.git(
            *("commit", "--quiet", "--allow-empty", f"--message={message}"), **self._dates(),
            GIT_AUTHOR_NAME=name, GIT_AUTHOR_EMAIL=email,
        )  # fmt: skip
        return self.head()

    def merge(self, branch: str) -> str:
        self.git("merge", "--quiet", "--no-ff", f"--message=merge {branch}", branch, **self._dates())
        return self.head()

    def head(self) -> str:
        git_dir = self.path / ".git"
        branch = git_dir / (git_dir / "HEAD").read_text().removeprefix("ref: ").rstrip()
        # Most commits are made for their ids, and git takes as long to read this file as to commit.
        return branch.read_text().rstrip() if branch.is_file() else self.git("rev-parse", "HEAD")

    def fast_import(self, stream: bytes) -> None:
        self.git("fast-import", "--quiet", "--force", stdin=stream)

    def _dates(self) -> dict[str, str]:
        self.now += 3600
        return {"GIT_AUTHOR_DATE": f"{self.now - 60} +0200", "GIT_COMMITTER_DATE": f"{self.now} -0500"}


Files = dict[str, tuple[int, bytes | str | None]]
"""Modes and contents of files by their paths; texts are targets of links, and empty folders have no content."""


def _read_files(folder: Path) -> Files:
    files: Files = {}
    for entry in sorted(folder.rglob("*")):
        path, mode = str(entry.relative_to(folder)), entry.lstat().st_mode
        if entry.is_symlink():
            files[path] = mode, str(entry.readlink())
        elif entry.is_file():
            files[path] = mode, entry.read_bytes()
        elif not any(entry.iterdir()):
            files[path] = mode, None
    return files


def _write_files(folder: Path, files: Files) -> None:
    for path, (mode, content) in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            file.mkdir()
        elif isinstance(content, str):
            file.symlink_to(content)
        else:
            file.write_bytes(content)
            file.chmod(mode)


@functools.cache
def _new_repository() -> Files:
    """The files that git makes for a repository."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {"PATH": os.environ["PATH"], "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "init", "--quiet", "--initial-branch=main", "--template="]
        subprocess.run(command, cwd=folder, check=True, env=environ)
        return _read_files(Path(folder))


class ReadRepository(GitRepository):
    """A repository that does not change any more: git is asked once for everything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git = functools.cache(super().git)  # type: ignore[method-assign]


def processes_with(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def numbered(start: int, stop: int, word: str = "line") -> str:
    return "".join(f"{word} {number}\n" for number in range(start, stop))


def repository_with_history(path: Path) -> GitRepository:
    """A new repository with the history of :func:`build_history`, without the dozens of processes of git."""
    files, now = _history()
    _write_files(path, files)
    repository = GitRepository(path)
    repository.now = now
    return repository


@functools.cache
def _history() -> tuple[Files, int]:
    with tempfile.TemporaryDirectory() as folder:
        repository = GitRepository(Path(folder))
        build_history(repository)
        return _read_files(repository.path), repository.now


def build_history(repository: GitRepository) -> None:
    """Merges, renames, deletions, a change of type, and names that need quoting."""
    repository.write("README", numbered(1, 20))
    repository.write("src/app.py", numbered(1, 30, "def"))
    repository.write("src/util.py", numbered(1, 12, "util"))
    repository.write("docs/naïve file.txt", numbered(1, 8, "text"))
    repository.commit("first")
    repository.write("src/app.py", numbered(1, 10, "def") + "changed\n" + numbered(12, 35, "def"))
    repository.write('odd\n"name"\t.txt', "odd\n")
    repository.commit("second", name="Bob", email="bob@example.com")
    repository.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    repository.write("README", numbered(1, 20) + "from the side\n")
    repository.write("side.txt", numbered(1, 5, "side"))
    repository.commit("on the side", name="Sid", email="sid@example.com")
    repository.git("checkout", "--quiet", "main")
    repository.write("README", "on main\n" + numbered(1, 20))
    repository.commit("on main")
    repository.merge("side")
    repository.git("mv", "src/util.py", "src/helpers.py")
    repository.write("src/helpers.py", numbered(1, 6, "util") + "helped\n" + numbered(6, 12, "util"))
    repository.commit("rename", name="Bob B. Renamed", email="BOB@example.com")
    repository.git("rm", "--quiet", "side.txt")
    (repository.path / "link").symlink_to("README")
    repository.write("script", "#!/bin/sh\n")
    repository.commit("delete, and add a link")
    (repository.path / "link").unlink()
    repository.write("link", "a file now\n")
    (repository.path / "script").chmod(0o755)
    repository.commit("change of type and of mode")
    repository.commit("nothing changed")
    repository.git("tag", "--annotate", "--message=tag", "v1")
