"""The release before and this one side by side, on the same database, before, during and after its migrations."""

from __future__ import annotations

import io
import os
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


def imported_late():
    import example_app.late

    return str(example_app.late.NUMBER)


app.add_url_rule("/release", view_func=lambda: f"{example_app.release.NUMBER} of {NUMBER}")
app.add_url_rule("/late", view_func=imported_late)
app.cli.command("release")(lambda: print(example_app.release.NUMBER))
"""


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """A folder with two of them, and the link, which leads to the first."""
    for number in ("1", "2"):
        code = tmp_path / number
        for part in ("deploy", "example_app"):
            shutil.copytree(ROOT / part, code / part)
        # As if each had its own.
        (code / ".venv").symlink_to(Path(sys.executable).parent.parent)
        for module in ("release", "late"):
            (code / f"example_app/{module}.py").write_text(f"NUMBER = {number}\n")
        with (code / "deploy/wsgi.py").open("a") as file:
            file.write(f"NUMBER = {number}\n{RELEASE}")
    lead(tmp_path, "1")
    return tmp_path


def lead(folder: Path, release: str) -> None:
    (folder / "next").symlink_to(release)
    (folder / "next").rename(folder / "current")


def test_a_reload_takes_the_release_that_the_link_leads_to(
    postgresql: PostgresqlServer, redis: RedisServer, releases: Path
) -> None:
    with deployed(releases, postgresql, redis, code=releases / "current", WEB_CONCURRENCY="1") as deployment:
        direct = f"http://127.0.0.1:{deployment.direct}"
        url = f"{direct}/release"
        assert page(url) == (200, "1 of 1")
        lead(releases, "2")
        # What the old one imports now is its own.
        assert page(f"{direct}/late") == (200, "1")
        deployment.gunicorn.reload()
        eventually(lambda: page(url) == (200, "2 of 2"))
        # One that cannot be imported is not taken into use.
        shutil.copytree(releases / "2", releases / "3", symlinks=True)
        (releases / "3/example_app/release.py").unlink()
        lead(releases, "3")
        with pytest.raises(subprocess.CalledProcessError):
            deployment.gunicorn.reload()
        assert page(url) == (200, "2 of 2")


SYSTEMD_RUN = """
import os, sys
properties = dict(word.split("=", 2)[1:] for word in sys.argv if word.startswith("--property="))
os.chdir(properties["WorkingDirectory"])
with open(os.environ["ENVIRONMENT_FILE"]) as file:
    environ = dict(line.rstrip().split("=", 1) for line in file if line.strip() and not line.startswith("#"))
command = [word for word in sys.argv[1:] if not word.startswith("--") or word == "--app"]
os.execvpe(command[0], command, {"PATH": os.environ["PATH"], **environ})
"""


def test_a_command_is_of_the_release_whose_folder_it_is_in(releases: Path) -> None:
    """Its migrations are made while the link still leads to the one before."""
    (releases / "bin").mkdir()
    fake = releases / "bin/systemd-run"
    fake.write_text(f"#!{sys.executable}{SYSTEMD_RUN}")
    fake.chmod(0o755)
    configured = releases / "scm.env"
    text = (DEPLOY / "scm.env").read_text().replace("CHANGE-ME", "a-token-of-the-tests-of-upgrades-0")
    configured.write_text(text)
    environ = {"PATH": f"{releases / 'bin'}:{os.environ['PATH']}", "ENVIRONMENT_FILE": str(configured)}
    for folder, number in {"1": "1", "2": "2", "current": "1"}.items():
        command = [releases / folder / "deploy/scm-flask", "release"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=PATIENCE)
        assert done.stdout == f"{number}\n"


def migrations(commit: str) -> set[str]:
    listed = ["git", "ls-tree", "--name-only", commit, f"{VERSIONS.relative_to(ROOT)}/"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return {Path(name).name for name in found.stdout.split() if Path(name).name.startswith("scm")}


def revision(postgresql: PostgresqlServer) -> str:
    ((found,),) = postgresql.execute("SELECT version_num FROM alembic_version", database="faulty")
    return str(found)


def newest() -> str:
    return NEWEST.name.partition("_")[0]
