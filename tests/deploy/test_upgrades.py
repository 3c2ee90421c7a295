"""The release before and this one side by side, on the same database, before, during and after its migrations."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from flask_grpcweb_scm import StatusCode
from tests.deploy.deployment import DEPLOY, PATIENCE, TOKEN, Deployment, Unit, deployed, eventually, page
from tests.deploy.load import Load
from tests.deploy.test_rolling_restart import add_rows, stored
from tests.faults.postgresql import PostgresqlServer
from tests.faults.redis_server import RedisServer
from tests.servers import ROOT, free_port

pytestmark = pytest.mark.needs("deployment")

SECONDS = 2.0
VERSIONS = ROOT / "flask_grpcweb_scm/scm/migrations/versions"
NEWEST = max(VERSIONS.glob("scm*.py"))


def code_before(folder: Path) -> Path:
    """The last code without the newest migration, from the history of this checkout."""
    git = shutil.which("git")
    listed = [git, "rev-list", "--first-parent", "HEAD"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True) if git else None
    # A migration may have come by a merge, and have had another number before it.
    released = {file.name for file in VERSIONS.glob("scm*.py")} - {NEWEST.name}
    commits = (commit for commit in (found.stdout.split() if found else []) if migrations(commit) <= released)
    before = next(commits, None)
    if before is None:
        pytest.skip("the history of the code is not here: it is no clone, or a shallow one")
    archive = [git, "archive", before, "flask_grpcweb_scm", "example_app"]
    done = subprocess.run(archive, cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def test_old_and_new_code_side_by_side(postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path) -> None:
    code = code_before(tmp_path / "before")
    shutil.copytree(DEPLOY, code / "deploy")
    postgresql.reset()
    deployment = Deployment(tmp_path, postgresql.uri, redis.uri)
    port = free_port()
    # Keys of this release are unknown to the one before, as they would be.
    environ = {**deployment.environ, "PYTHONPATH": str(code), "GUNICORN_BIND": f"127.0.0.1:{port}"}
    replaced = {
        "/opt/scm/current/.venv/bin": str(Path(sys.executable).parent),
        "/opt/scm/current": str(code),
        "/run/scm-": f"{tmp_path}/old-run/scm-",
    }
    (tmp_path / "old").mkdir()
    old = Unit("scm-web.service", tmp_path / "old", environ, replaced)
    try:
        flask = [str(Path(sys.executable).parent / "flask"), "--app", "wsgi"]

        def run(*arguments: str) -> None:
            subprocess.run([*flask, *arguments], cwd=code / "deploy", env=environ, check=True, timeout=PATIENCE)

        run("db", "upgrade")
        assert revision(postgresql) != newest()
        old.start()
        eventually(lambda: page(f"http://127.0.0.1:{port}/healthz/ready")[0] == 200)
        mappings = add_rows(run)
        with Load(f"http://127.0.0.1:{port}", TOKEN, mappings=mappings) as before:
            time.sleep(SECONDS)
            deployment.start()  # upgrades, and serves
            assert revision(postgresql) == newest()
            with Load(
                deployment.url, TOKEN, certificate=deployment.nginx.certificate, mappings=mappings, prefix="new"
            ) as after:
                time.sleep(SECONDS)
        for load in (before, after):
            assert load.calls.keys() == {StatusCode.OK}, load.failures
            assert load.acknowledged <= stored(postgresql)
            assert load.acknowledged
    finally:
        old.stop()
        deployment.stop()


RELEASE = """
import example_app.release

app.add_url_rule("/release", view_func=lambda: f"{example_app.release.NUMBER} of {NUMBER}")
"""


def test_a_reload_takes_the_release_that_the_link_leads_to(
    postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path
) -> None:
    for number in ("1", "2"):
        code = tmp_path / number
        for part in ("deploy", "example_app", "flask_grpcweb_scm"):
            shutil.copytree(ROOT / part, code / part)
        # As if each had its own.
        (code / ".venv").symlink_to(Path(sys.executable).parent.parent)
        (code / "example_app/release.py").write_text(f"NUMBER = {number}\n")
        with (code / "deploy/wsgi.py").open("a") as file:
            file.write(f"NUMBER = {number}\n{RELEASE}")
    link = tmp_path / "current"
    link.symlink_to("1")
    with deployed(tmp_path, postgresql, redis, code=link, WEB_CONCURRENCY="1") as deployment:
        url = f"http://127.0.0.1:{deployment.direct}/release"
        assert page(url) == (200, "1 of 1")
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").rename(link)
        deployment.gunicorn.reload()
        eventually(lambda: page(url) == (200, "2 of 2"))
        # One that cannot be imported is not taken into use.
        (tmp_path / "3").mkdir()
        (tmp_path / "3/deploy").symlink_to("../2/deploy")
        (tmp_path / "3/.venv").symlink_to("../2/.venv")
        (tmp_path / "next").symlink_to("3")
        (tmp_path / "next").rename(link)
        with pytest.raises(subprocess.CalledProcessError):
            deployment.gunicorn.reload()
        assert page(url) == (200, "2 of 2")


def migrations(commit: str) -> set[str]:
    listed = ["git", "ls-tree", "--name-only", commit, f"{VERSIONS.relative_to(ROOT)}/"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return {Path(name).name for name in found.stdout.split() if Path(name).name.startswith("scm")}


def revision(postgresql: PostgresqlServer) -> str:
    ((found,),) = postgresql.execute("SELECT version_num FROM alembic_version", database="faulty")
    return str(found)


def newest() -> str:
    return NEWEST.name.partition("_")[0]
