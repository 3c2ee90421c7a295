"""Whole calls with their database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask, jsonify, request

from benchmarks.harness import Goal, Variants, load, observation
from benchmarks.wsgi import BINARY, environ_of, exchange, frames, sender
from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Organization, Repository, RepositoryStatus, db
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror
from flask_grpcweb_scm.scm.mirrors.remote import Remote
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.databases import postgresql_server
from tests.scm.mirrors.git_server import serve_git
from tests.scm.support import SERVICE, GitRepository

VIEW = "Flask view"
PAGE = 100
COMMITS = 10_000
ROWS_OF_STREAM = 1_000_000

# Names that sort neither as they were added nor by their ids.
FILL = """
    INSERT INTO scm_repository
        (organization_id, name, url, provider, external_id, config, status, date_added, default_branch)
    SELECT 1, 'group' || (n * 7919 % {rows} / 1000) || '/repository' || (n * 7919 % {rows}),
           'https://github.com/acme/' || n, 'github', n, '{{}}', 'active', '2026-11-25 10:00:00.000000', 'main'
    FROM {numbers}
"""
NUMBERS = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {rows}) SELECT n FROM c)",
    "postgresql": "generate_series(CAST(1 AS bigint), {rows}) AS n",
}


def scm_app(stack: ExitStack, kind: str, **config: Any) -> Flask:
    """An app whose database has one organization, and nothing else."""
    if kind == "sqlite":
        uri = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/scm.db"
    else:
        uri = stack.enter_context(postgresql_server()).replace("postgresql://", "postgresql+psycopg://")
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=uri, GRPC_REQUIRE_AUTH=False, **config)
    app.secret_key = os.urandom(16)
    GrpcWebScm(app)
    with app.app_context():
        db.create_all()
        db.session.add(Organization(id=1, slug="acme"))
        db.session.commit()
    stack.callback(_dispose, app)
    return app


def _dispose(app: Flask) -> None:
    with app.app_context():
        db.engine.dispose()


def filled_app(stack: ExitStack, kind: str, rows: int) -> Flask:
    """An app with one organization of so many repositories, and views of them."""
    app = scm_app(stack, kind)
    app.add_url_rule("/repositories", view_func=view)
    app.add_url_rule("/repositories-without-count", view_func=view_without_count)
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        fill = FILL.format(rows=rows, numbers=NUMBERS[kind].format(rows=rows))
        connection.execute(sa.text(fill))
        connection.execute(sa.text("ANALYZE" if kind == "sqlite" else "VACUUM ANALYZE"))
    return app


def _repositories() -> sa.Select[Any]:
    active = sa.and_(Repository.organization_id == 1, Repository.status == RepositoryStatus.ACTIVE)
    return sa.select(Repository).where(active).order_by(Repository.name, Repository.id)


def view() -> Any:
    """The same page in the way of Flask-SQLAlchemy's documentation."""
    page = db.paginate(_repositories(), per_page=PAGE, max_per_page=PAGE)
    return jsonify(repositories=[_as_dict(row) for row in page.items], pages=page.pages)


def view_without_count() -> Any:
    """The same page without the number of all pages, and without what tells whether there is a next one."""
    offset = (int(request.args["page"]) - 1) * PAGE
    return jsonify(
        repositories=[_as_dict(row) for row in db.session.scalars(_repositories().limit(PAGE).offset(offset))]
    )


def _as_dict(row: Repository) -> dict[str, Any]:
    return {
        "id": row.id,
        "organizationId": row.organization_id,
        "name": row.name,
        "url": row.url,
        "provider": row.provider,
        "externalId": row.external_id,
        "status": row.status.value,
        "dateAdded": row.date_added.isoformat(),
        "config": row.config,
    }


def ask_view(app: Flask, page: int, path: str = "/repositories") -> Callable[[], bytes]:
    """A request for a page of a view."""
    environ = environ_of(path, b"", "")
    return sender(app.wsgi_app, {**environ, "REQUEST_METHOD": "GET", "QUERY_STRING": f"page={page}"}, b"")


def ask_rpc(app: Flask, page: int) -> Callable[[], bytes]:
    """A request for a page of ListRepositories, whose token comes from the pages before it."""
    message = scm_pb2.ListRepositoriesRequest(organization_id=1)
    left = (page - 1) * PAGE
    while left:
        message.page_size = min(left, 1000)
        left -= message.page_size
        answer = exchange(app.wsgi_app, SERVICE + "ListRepositories", frames(message.SerializeToString()))
        length = int.from_bytes(answer[1:5], "big")
        message.page_token = scm_pb2.ListRepositoriesResponse.FromString(answer[5 : 5 + length]).next_page_token
    message.page_size = PAGE
    body = frames(message.SerializeToString())
    return sender(app.wsgi_app, environ_of(SERVICE + "ListRepositories", body, BINARY), body)


for _kind in ("sqlite", "postgresql"):

    @load(
        f"ListRepositories, 100 of 100 000, {_kind}",
        reference=VIEW,
        goals=[Goal("page 1", VIEW, at_most=0.4), Goal("page 900", "page 1", at_most=1.1)],
    )
    def _list(stack: ExitStack, kind: str = _kind) -> Variants:
        app = filled_app(stack, kind, 100_000)
        return {
            VIEW: ask_view(app, 1),
            f"{VIEW}, page 900": ask_view(app, 900),
            f"{VIEW} without count": ask_view(app, 1, "/repositories-without-count"),
            "page 1": ask_rpc(app, 1),
            "page 900": ask_rpc(app, 900),
        }

    @load(
        f"ListRepositories, 100 of 1 000 000, {_kind}",
        reference="page 1",
        goals=[Goal("page 10 000", "page 1", at_most=1.1)],
        quick=False,
    )
    def _list_many(stack: ExitStack, kind: str = _kind) -> Variants:
        app = filled_app(stack, kind, 1_000_000)
        return {"page 1": ask_rpc(app, 1), "page 10 000": ask_rpc(app, 10_000)}

    @observation(
        f"StreamRepositories, memory, {_kind}",
        unit="MiB",
        reference="1 000 rows",
        goals=[Goal("1 000 000 rows", "1 000 rows", at_most=1.1)],
    )
    def _stream(stack: ExitStack, kind: str = _kind) -> Variants:
        few, many = filled_app(stack, kind, 1000), filled_app(stack, kind, ROWS_OF_STREAM)
        return {"1 000 rows": lambda: peak(few, 1000), "1 000 000 rows": lambda: peak(many, ROWS_OF_STREAM)}

    @load(
        f"import-git, 10 000 commits, {_kind}",
        reference="git log --raw",
        goals=[Goal("import", "git log --raw", at_most=2.5)],
        quick=False,
    )
    def _import(stack: ExitStack, kind: str = _kind) -> Variants:
        repository = history(stack)
        app = scm_app(stack, kind)
        names = (f"copy{number}" for number in itertools.count())
        return {
            "git log --raw": lambda: git_log(repository),
            "import": lambda: import_once(app, repository, next(names)),
        }

    @load(
        f"GetCommitContext, 10 000 commits, {_kind}",
        reference="git blame",
        goals=[Goal("asked for the first time", "git blame", at_most=1.3)],
        quick=False,
    )
    def _context(stack: ExitStack, kind: str = _kind) -> Variants:
        repository = history(stack)
        # A memory of one byte keeps nothing, not even what the default branch has.
        return {
            "git blame": lambda: git_blame(repository),
            "asked for the first time": ask_context(stack, kind, repository, is_forgotten=True),
            "first question about the repository": ask_context(stack, kind, repository, GRPC_BLAME_CACHE_BYTES=1),
            "asked for again": ask_context(stack, kind, repository),
        }


@load(
    "blame, own mirror of 10 000 commits",
    reference="git blame",
    goals=[Goal("own mirror", "git blame", at_most=0.7)],
    quick=False,
)
def _own_mirror(stack: ExitStack) -> Variants:
    repository = history(stack)
    mirror = own_mirror(stack, repository)
    tip = mirror.branch()[1] or ""
    return {
        "git blame": lambda: git_blame(repository, OLD_PATH),
        "own mirror": lambda: Mirror(mirror.git_dir, timeout=None).lines(tip, OLD_PATH, [1]),
    }


def own_mirror(stack: ExitStack, repository: Path) -> OwnMirror:
    """A mirror that the service has fetched, with what it adds to make blame faster."""
    root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    mirror = OwnMirror(root / "0/1-0.git", Limits(timeout=None, memory=None))
    with serve_git(repository.parent) as server:
        mirror.update(Remote(f"{server.url}/{repository.name}", allowed_hosts={"127.0.0.1"}))
    return mirror


def peak(app: Flask, rows: int) -> float:
    """The most memory that the process has while it sends every repository, in MiB; Linux keeps count."""
    body = frames(scm_pb2.StreamRepositoriesRequest(organization_id=1).SerializeToString())
    environ = environ_of(SERVICE + "StreamRepositories", body, BINARY)
    Path("/proc/self/clear_refs").write_text("5")
    pieces = app.wsgi_app({**environ, "wsgi.input": io.BytesIO(body)}, lambda *_: None)
    sent = sum(map(len, pieces))
    pieces.close()
    assert sent > 50 * rows
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 1024


def history(stack: ExitStack) -> Path:
    """A repository with some thousands of commits, each of three files."""
    repository = GitRepository(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    stream = bytearray()
    for number in range(COMMITS):
        who = b"A%d <a%d@b.example> %d +0000" % (number % 200, number % 200, 1_600_000_000 + number)
        text = b"change %d\n\nA longer explanation of why.\n" % number
        stream += b"commit refs/heads/main\ncommitter %s\ndata %d\n%s\n" % (who, len(text), text)
        for file in range(3):
            path = path_of(number, file).encode()
            stream += b"M 100644 inline %s\ndata 6\n%06d\n" % (path, number)
        if number == COMMITS // 10:
            stream += b"M 100644 inline %s\ndata 6\nstable\n" % OLD_PATH.encode()
    repository.fast_import(bytes(stream))
    repository.git("gc", "--quiet")
    return repository.path


def path_of(commit: int, file: int) -> str:
    """Path that a commit of the history changes, one of some hundreds."""
    return f"src/package{commit % 40}/module{(commit * 7 + file) % 60}/file{commit * 13 % 300}.py"


OLD_PATH = "src/stable.py"
"""A file that was added after a tenth of the history, and has not changed since."""
# Not among the newest changes, nor among the oldest.
LINE_PATH = path_of(COMMITS - 500, 0)


def git_log(repository: Path) -> None:
    """Reference: the same history from git."""
    git = shutil.which("git") or "git"
    subprocess.run([git, "-C", repository, "log", "--raw"], stdout=subprocess.DEVNULL, check=True)


def import_once(app: Flask, repository: Path, name: str) -> None:
    """The work of ``flask scm import-git`` without its start."""
    with app.app_context():
        job = prepare_import(db.session.get_one(Organization, 1), Mirror.find(repository), name)
        for _ in job.run():
            pass
        assert job.stored == COMMITS


def git_blame(repository: Path, path: str = "") -> None:
    """Reference: the same blame from git."""
    git = shutil.which("git") or "git"
    command = [git, "-C", repository, "blame", "--line-porcelain", "-L1,1", "main", "--", path or LINE_PATH]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def ask_context(
    stack: ExitStack, kind: str, repository: Path, *, is_forgotten: bool = False, **config: Any
) -> Callable[[], bytes]:
    """A request for the same line of an imported repository.

    :param is_forgotten: what was said about lines is not remembered.
    """
    app = scm_app(stack, kind, **config)
    import_once(app, repository, "copy")
    message = scm_pb2.GetCommitContextRequest(
        repository_id=1, commit_sha=Mirror.find(repository).branch()[1], filepath=LINE_PATH, line_number=1
    )
    body = frames(message.SerializeToString())
    path = SERVICE + "GetCommitContext"
    assert b"grpc-status: 0" in exchange(app.wsgi_app, path, body)
    send = sender(app.wsgi_app, environ_of(path, body, BINARY), body)

    def forget_and_send() -> bytes:
        app.extensions["grpcweb_scm.lines"] = LruCache(2**20)
        return send()

    return forget_and_send if is_forgotten else send
