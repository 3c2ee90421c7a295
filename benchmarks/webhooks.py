"""Deliveries of webhooks: ``python -m benchmarks.webhooks``, or ``make webhooks``.

One process of gunicorn with sixteen threads gets 10 000 deliveries, two hundred a second: duplicates, in any order,
and some forged. The work that is due afterwards must be exactly that of the genuine ones. The time of a response counts
from the instant that its delivery was to be sent at, so that one that is slow makes those behind it slow, too. Then
pushes to a repository, each until GetCommit has its commit, with a worker. Writes the table of docs/sync.md.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from flask_grpcweb_scm.client import CallError, ScmGrpcClient
from flask_grpcweb_scm.scm import Integration, Job, Organization, OrganizationIntegration, Repository, db
from tests.faults.postgresql import postgresql_of_our_own
from tests.scm.databases import create_tables, disposed
from tests.scm.sources.providers import running as running_host
from tests.scm.support import make_app
from tests.scm.sync.hosts import TOKEN, GitHubHost
from tests.scm.sync.syncing import bare_repository, commits_of, extend
from tests.scm.webhooks.sending import GITHUB_SECRET, Delivery, github
from tests.servers import ROOT, command, free_port, listening
from tests.sockets.http1 import Connection, request

PAGE = ROOT / "docs/sync.md"
FACTORY = "tests.scm.served_app:create_app"
REPOSITORIES = 1000
CONNECTIONS = 8
DATABASES = ("SQLite", "PostgreSQL")
PATIENCE = 30.0


@contextlib.contextmanager
def database_of_our_own(kind: str, folder: Path) -> Iterator[str]:
    """Run a database with the tables while the block runs; gives its URI."""
    with contextlib.ExitStack() as stack:
        if kind == "SQLite":
            uri = f"sqlite:///{folder / 'scm.db'}"
        else:
            server = stack.enter_context(postgresql_of_our_own())
            server.reset()
            uri = server.uri
        create_tables(uri)
        yield uri


@contextlib.contextmanager
def serving(uri: str, folder: Path, **config: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Serve an app with a webhook; gives the port, and the environment of its workers."""
    port = free_port()
    environment = {
        "FLASK_SQLALCHEMY_DATABASE_URI": uri,
        "FLASK_SECRET_KEY": "benchmark",
        "FLASK_GRPC_REQUIRE_AUTH": "false",
        "FLASK_GRPC_SCM_WEBHOOKS": f'{{"main": "{GITHUB_SECRET}"}}',
        "FLASK_GRPC_SCM_MIRRORS": str(folder / "mirrors"),
        "FLASK_GRPC_SCM_CREDENTIALS": f'{{"bot": "{TOKEN}"}}',
        "FLASK_GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
        **config,
    }
    with listening(command("gunicorn", FACTORY, port), port, folder / "server.log", environment):
        yield port, environment


def fill(uri: str, base_url: str, repositories: int) -> None:
    """Store an organization with an integration and repositories."""
    with disposed(make_app(uri)) as app, app.app_context():
        organization = Organization(slug="acme")
        metadata = {"base_url": base_url, "credentials": "bot"}
        integration = Integration(provider="github_enterprise", external_id="1", name="main", metadata_=metadata)
        db.session.add_all([organization, integration])
        db.session.flush()
        pair = {"organization_id": organization.id, "integration_id": integration.id}
        db.session.add(OrganizationIntegration(**pair))
        for number in range(1, repositories + 1):
            url = f"{base_url}/acme/r{number}.git"
            of_host = {"provider": "github_enterprise", "external_id": str(number), "name": f"acme/r{number}"}
            db.session.add(Repository(**pair, **of_host, url=url, default_branch="main"))
        db.session.commit()


def push(number: int, **more: Any) -> Delivery:
    """Make a delivery; real ones have about eight thousand bytes."""
    repository = {"id": number, "full_name": f"acme/r{number}", "description": "x" * 7000}
    return github("push", {"ref": "refs/heads/main", "repository": repository, **more})


# Deliveries


def send(port: int, deliveries: list[Delivery], rate: float) -> tuple[list[float], Counter[str]]:
    """Send deliveries at a rate over some connections; returns the seconds of each, and how often what came back."""
    seconds, words = [0.0] * len(deliveries), Counter[str]()
    begin = time.perf_counter() + 0.5
    lock = threading.Lock()
    numbers = iter(range(len(deliveries)))

    def work() -> None:
        with Connection(port) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                when = begin + number / rate
                time.sleep(max(0.0, when - time.perf_counter()))
                delivery = deliveries[number]
                connection.send(request("/scm/webhooks/main", delivery.body, delivery.headers.items()))
                response = connection.response()
                seconds[number] = time.perf_counter() - when
                with lock:
                    words[f"{response.status} {response.body.decode().split(chr(34))[3]}"] += 1

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, words


def measure_deliveries(kind: str, count: int, rate: float) -> str:
    """Return the row of a database."""
    chance = random.Random(1)  # noqa: S311  # no secret
    pushed = [chance.randint(1, REPOSITORIES // 2) for _ in range(count * 8 // 10)]
    genuine = [push(number, nth=nth) for nth, number in enumerate(pushed)]
    again = chance.choices(genuine, k=count // 10)
    # To repositories that no genuine delivery is about.
    others = [push(chance.randint(REPOSITORIES // 2 + 1, REPOSITORIES)) for _ in range(count - len(genuine + again))]
    forged = [Delivery(each.body, {**each.headers, "X-Hub-Signature-256": "sha256=" + "0" * 64}) for each in others]
    sent = [*genuine, *again, *forged]
    chance.shuffle(sent)
    with tempfile.TemporaryDirectory(prefix="webhooks-") as name, database_of_our_own(kind, Path(name)) as uri:
        fill(uri, "https://github.example", REPOSITORIES)
        with serving(uri, Path(name)) as (port, _):
            send(port, [push(1) for _ in range(200)], rate)
            seconds, words = send(port, sent, rate)
        with disposed(make_app(uri)) as app, app.app_context():
            due = {
                int(number)
                for number in db.session.scalars(
                    sa.select(Repository.external_id).join(Job, Job.subject_id == Repository.id)
                )
            }
    expected = {"200 accepted": len(genuine), "200 duplicate": len(again), "401 wrong signature": len(forged)}
    is_right = words == expected and due == {1, *pushed}
    seconds.sort()
    p50, p99, most = (1000 * seconds[min(int(len(seconds) * part), len(seconds) - 1)] for part in (0.5, 0.99, 1))
    exact = "exactly" if is_right else f"**wrong**: {dict(words)}"
    return f"| {kind} | {len(sent):,} | {rate:g} | {p50:.1f} ms | {p99:.1f} ms | {most:.0f} ms | {exact} |"


# From a push to its commit


def measure_pushes(kind: str, count: int) -> str:
    """Return the sentence of a database."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="webhooks-")))
        uri = stack.enter_context(database_of_our_own(kind, folder))
        host = stack.enter_context(running_host(GitHubHost(prefix="/api/v3")))
        git = bare_repository(folder / "git", 1000)
        host.add(1, "acme/r1", git)
        fill(uri, host.url, 1)
        port, environment = stack.enter_context(serving(uri, folder))
        client = stack.enter_context(ScmGrpcClient(f"http://127.0.0.1:{port}"))
        worker = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", FACTORY, "scm", "worker"],
            env={**os.environ, **environment},
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(worker.wait)
        stack.callback(worker.terminate)
        seconds = []
        for number in range(count + 1):
            before = {*commits_of(git)}
            extend(git, 1001 + number, 1001 + number)
            (sha,) = {*commits_of(git)} - before
            time.sleep(random.uniform(0, 1))  # noqa: S311  # no secret
            started = time.perf_counter()
            send(port, [push(1)], 1000)
            seconds.append(_seconds_until(client, sha, started + 0.5))
    # The first one begins with the whole history.
    measured = sorted(seconds[1:])
    median, most = statistics.median(measured), measured[-1]
    return f"{kind}: {median:.2f} s in the middle of {count} pushes, {most:.2f} s at most"


def _seconds_until(client: ScmGrpcClient, sha: str, started: float) -> float:
    while True:
        try:
            client.get_commit(repository_id=1, commit_sha=sha)
        except CallError:
            pass
        else:
            return time.perf_counter() - started
        assert time.perf_counter() - started < PATIENCE, f"{sha} has not come"
        time.sleep(0.02)


@click.command()
@click.option("--count", default=10_000, show_default=True, help="Deliveries.")
@click.option("--rate", default=200.0, show_default=True, help="Deliveries a second.")
@click.option("--pushes", default=20, show_default=True, help="Pushes that are waited for.")
@click.option("--write/--no-write", default=True, help="Write the table of docs/sync.md.")
def main(count: int, rate: float, pushes: int, write: bool) -> None:
    """Measure, and print the table."""
    rows = [measure_deliveries(kind, count, rate) for kind in DATABASES]
    sentences = [measure_pushes(kind, pushes) for kind in DATABASES]
    head = "| database | deliveries | a second | median | p99 | slowest | the work that is due |"
    text = "\n".join(
        [
            *(head, "|---|---:|---:|---:|---:|---:|---|", *rows, ""),
            f"From the webhook of a push until GetCommit has its commit, with one worker: {'; '.join(sentences)}.",
            f"Python {platform.python_version()}, one process of gunicorn with sixteen threads.",
            "",
        ]
    )
    click.echo(text)
    if write:
        marked = r"(?<=<!-- make webhooks -->\n).*?(?=<!-- end -->)"
        PAGE.write_text(re.sub(marked, lambda match: text, PAGE.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
