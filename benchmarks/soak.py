"""An hour of mixed calls, and what it leaves behind: ``python -m benchmarks.soak``, or ``make soak``.

A real server with PostgreSQL, called at a modest rate. Every few seconds the callers pause for a moment, so that what
is counted is at rest: memory, descriptors, threads, connections of the pool, children. Writes its table into
docs/reliability.md, and exits with 1 when the memory grows by more than its goal, or anything else grows.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import click
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from example_app import dice_pb2
from example_app.dice import dice
from flask_grpcweb_scm import GrpcWebScm, RpcError
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Repository, db
from tests.faults.postgresql import postgresql_of_our_own
from tests.grpcweb import PROTO, body_of
from tests.scm.databases import create_tables, disposed
from tests.scm.support import SERVICE, GitRepository, Tenant, add_tenant, make_app, numbered
from tests.servers import ROOT, free_port, listening
from tests.sockets.http1 import Connection
from tests.sockets.http1 import request as http_request

PAGE = ROOT / "docs/reliability.md"
CALLERS, THREADS = 6, 16
SECRET, TOKEN = "soak-secret", "soak-token"
REPOSITORIES, FILES = 300, 200
CACHE = 2**20
REST = 1.5
"""Seconds that callers pause, in which the server ends what was abandoned."""
MIB_PER_HOUR = 2.0
SCM = scm_pb2.DESCRIPTOR.services_by_name["ScmService"]
DICE = dice_pb2.DESCRIPTOR.services_by_name["Dice"]


def create_app() -> Flask:
    """The app that the server serves."""
    app = Flask(__name__)
    app.config.from_mapping(
        GRPC_AUTH_TOKENS=[TOKEN],
        GRPC_HMAC_SECRETS=[SECRET],
        GRPC_RATE_LIMITS="100000/minute",
        GRPC_MAX_TIMEOUT=30,
        GRPC_METRICS_PATH="/metrics",
        # Full after minutes.
        GRPC_BLAME_CACHE_BYTES=CACHE,
        GRPC_TREE_CACHE_BYTES=CACHE,
        SECRET_KEY=SECRET,
        DICE_PAUSE=0.02,
    )
    app.config.from_prefixed_env()
    GrpcWebScm(app, services=[dice])
    app.add_url_rule("/pool", view_func=_pool)
    return app


def _pool() -> ResponseReturnValue:
    return jsonify(db.engine.pool.checkedout())  # type: ignore[attr-defined]


class Server:
    """Figures of the worker process of a server."""

    def __init__(self, port: int, master: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._pid = _children(master)[0]

    def sample(self) -> list[float]:
        """Figures, in the order of FIGURES."""
        status = dict(re.findall(r"(\w+):\s+(\d+)", Path(f"/proc/{self._pid}/status").read_text()))
        descriptors = len(os.listdir(f"/proc/{self._pid}/fd"))
        with urlopen(f"{self._url}/pool", timeout=10) as response:  # noqa: S310
            pool = int(response.read())
        return [int(status["VmRSS"]) / 1024, descriptors, int(status["Threads"]), pool, len(_children(self._pid))]


FIGURES = ["resident memory, MiB", "descriptors", "threads", "connections of the pool in use", "child processes"]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


class Calls:
    """Every kind of call, each with other values every time."""

    def __init__(self, url: str, tenant: Tenant, repository: GitRepository) -> None:
        self._url = url
        self._tenant = tenant
        self._repository = repository
        self._head = repository.head()
        self._numbers = itertools.count()
        self._connect()
        self.kinds: list[Callable[[Any, random.Random], object]] = [
            self._get, self._get, self._list, self._list_mappings, self._stream, self._abandon_rows,
            self._abandon_dice, self._derive, self._blame, self._blame_many, self._create_issue, self._mapping,
            self._absent, self._invalid, self._passed_deadline, self._refused, self._malformed, self._unknown,
            self._unfinished,
        ]  # fmt: skip

    def _connect(self) -> None:
        url = self._url
        self._channels = [
            Channel(url, token=TOKEN),
            Channel(url, token=TOKEN, text=True),
            Channel(url, token=TOKEN, codec="json", compression="gzip"),
            Channel(url, hmac_secret=SECRET),
        ]
        self._stranger = Channel(url, token="wrong")  # noqa: S106

    def one(self, generator: random.Random) -> str:
        """Make a call of any kind, and return its status."""
        kind = generator.choice(self.kinds)
        try:
            kind(generator.choice(self._channels).stub(SCM), generator)
        except RpcError as error:
            return f"{kind.__name__.strip('_')}: {error.code.name}"
        return f"{kind.__name__.strip('_')}: OK"

    def commit(self) -> None:
        """Commit another version of the repository, so that there are a new tree and new lines to be kept."""
        number = next(self._numbers)
        self._repository.write(f"src/new{number % 50}.py", numbered(1, 40, f"word{number}"))
        self._head = self._repository.commit(f"change {number}")

    def occupy(self) -> None:
        """Have all threads of the server begin: each gets all but the last byte of a call."""
        body = body_of(scm_pb2.GetRepositoryRequest(repository_id=self._tenant.repository))
        sent = http_request(SERVICE + "GetRepository", body, [("Content-Type", PROTO), ("X-Grpc-Auth-Token", TOKEN)])
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(int(self._url.rpartition(":")[2]))) for _ in range(THREADS)]
            for connection in connections:
                connection.send(sent[:-1])
            time.sleep(REST)
            for connection in connections:
                connection.send(sent[-1:])
                assert connection.response().status == 200

    def reconnect(self) -> None:
        """Close the connections that are kept; the next calls open others."""
        self.close()
        self._connect()

    def close(self) -> None:
        """Close the connections."""
        for channel in [*self._channels, self._stranger]:
            channel.close()

    def _get(self, scm: Any, generator: random.Random) -> None:
        scm.get_repository(scm_pb2.GetRepositoryRequest(repository_id=self._tenant.repository))

    def _list(self, scm: Any, generator: random.Random) -> None:
        request = scm_pb2.ListRepositoriesRequest(
            organization_id=self._tenant.organization,
            page_size=generator.randint(5, 50),
            query=generator.choice("0 12"),
        )
        request.page_token = scm.list_repositories(request).next_page_token
        scm.list_repositories(request)

    def _list_mappings(self, scm: Any, generator: random.Random) -> None:
        tenant = self._tenant
        scm.list_code_mappings(
            scm_pb2.ListCodeMappingsRequest(organization_id=tenant.organization, project_id=tenant.project)
        )

    def _stream(self, scm: Any, generator: random.Random) -> None:
        request = scm_pb2.StreamRepositoriesRequest(organization_id=self._tenant.organization)
        assert len(list(scm.stream_repositories(request))) > REPOSITORIES

    def _abandon_rows(self, scm: Any, generator: random.Random) -> None:
        request = scm_pb2.StreamRepositoriesRequest(organization_id=self._tenant.organization)
        with scm.stream_repositories(request) as stream:
            next(stream)

    def _abandon_dice(self, scm: Any, generator: random.Random) -> None:
        rolls = generator.choice(self._channels).stub(DICE).roll_until
        with rolls(dice_pb2.RollUntilRequest(sides=100, target=1)) as stream:
            for _ in itertools.islice(stream, 3):
                pass

    def _derive(self, scm: Any, generator: random.Random) -> None:
        paths = [f"/srv/{generator.random()}/src/file{generator.randrange(FILES)}.py" for _ in range(10)]
        tenant = self._tenant
        scm.derive_code_mappings(
            scm_pb2.DeriveCodeMappingsRequest(
                organization_id=tenant.organization, project_id=tenant.project, stacktrace_paths=paths, dry_run=True
            )
        )

    def _line(self, generator: random.Random) -> dict[str, Any]:
        path = f"src/file{generator.randrange(FILES)}.py"
        return {"commit_sha": self._head, "filepath": path, "line_number": generator.randint(1, 40)}

    def _blame(self, scm: Any, generator: random.Random) -> None:
        repository = self._tenant.repository
        scm.get_commit_context(scm_pb2.GetCommitContextRequest(repository_id=repository, **self._line(generator)))

    def _blame_many(self, scm: Any, generator: random.Random) -> None:
        lines = [self._line(generator) for _ in range(5)]
        repository = self._tenant.repository
        scm.batch_get_commit_context(scm_pb2.BatchGetCommitContextRequest(repository_id=repository, lines=lines))

    def _create_issue(self, scm: Any, generator: random.Random) -> None:
        tenant = self._tenant
        request = scm_pb2.CreateExternalIssueRequest(
            organization_id=tenant.organization, integration_id=tenant.integration, title="Bug"
        )
        scm.create_external_issue(request, metadata={"idempotency-key": str(generator.random())})

    def _mapping(self, scm: Any, generator: random.Random) -> None:
        tenant = self._tenant
        made = scm.create_code_mapping(
            scm_pb2.CreateCodeMappingRequest(
                organization_id=tenant.organization,
                project_id=tenant.project,
                repository_id=tenant.repository,
                stack_root=f"/opt/{generator.random()}/",
            )
        )
        request = scm_pb2.DeleteCodeMappingRequest(organization_id=tenant.organization, code_mapping_id=made.id)
        scm.delete_code_mapping(request)

    def _absent(self, scm: Any, generator: random.Random) -> None:
        scm.get_repository(scm_pb2.GetRepositoryRequest(repository_id=generator.randrange(10**6, 10**9)))

    def _invalid(self, scm: Any, generator: random.Random) -> None:
        scm.list_repositories(scm_pb2.ListRepositoriesRequest(page_token=str(generator.random())))

    def _passed_deadline(self, scm: Any, generator: random.Random) -> None:
        request = scm_pb2.StreamRepositoriesRequest(organization_id=self._tenant.organization)
        list(scm.stream_repositories(request, timeout=generator.choice([0.001, 0.01])))

    def _refused(self, scm: Any, generator: random.Random) -> None:
        self._stranger.stub(SCM).get_repository(scm_pb2.GetRepositoryRequest(repository_id=1))

    def _malformed(self, scm: Any, generator: random.Random) -> None:
        self._post(SERVICE + "GetRepository", generator.randbytes(30))

    def _unknown(self, scm: Any, generator: random.Random) -> None:
        self._post(f"/no.Service{generator.randrange(10**6)}/Method", b"")

    def _post(self, path: str, body: bytes) -> None:
        headers = {"content-type": PROTO, "x-grpc-auth-token": TOKEN}
        with urlopen(Request(self._url + path, body, headers), timeout=10) as response:  # noqa: S310
            response.read()

    def _unfinished(self, scm: Any, generator: random.Random) -> None:
        """Send half a body, and go away."""
        connection = Connection(int(self._url.rpartition(":")[2]))
        headers = [("Content-Type", PROTO), ("X-Grpc-Auth-Token", TOKEN)]
        connection.send(http_request(SERVICE + "GetRepository", b"\0\0\0\0\x02", headers, length=7))
        connection.close()


class Load:
    """Callers that keep to a rate, and that can be made to rest."""

    def __init__(self, calls: Calls, rate: float) -> None:
        self._calls = calls
        self._pause = CALLERS / rate
        self._over = threading.Event()
        self._may_call = threading.Event()
        self._may_call.set()
        self._lock = threading.Lock()
        self._under_way = 0
        self.statuses: Counter[str] = Counter()

    def run(self, number: int) -> None:
        """Call until :meth:`end`."""
        generator = random.Random(number)  # noqa: S311
        while not self._over.is_set():
            self._may_call.wait()
            with self._lock:
                if not self._may_call.is_set():
                    continue
                self._under_way += 1
            try:
                status = self._calls.one(generator)
            finally:
                with self._lock:
                    self._under_way -= 1
            self.statuses[status] += 1
            self._over.wait(self._pause * generator.uniform(0.5, 1.5))

    def rest(self) -> None:
        """Begin no further calls, end the connections of those that are over, and wait for a moment."""
        with self._lock:
            self._may_call.clear()
        while self._under_way:
            time.sleep(0.05)
        self._calls.reconnect()
        time.sleep(REST)

    def resume(self) -> None:
        """Go on."""
        self._may_call.set()

    def end(self) -> None:
        """Have the callers return."""
        self._over.set()
        self._may_call.set()


@dataclass(frozen=True)
class Series:
    """A figure at instants, in hours."""

    hours: list[float]
    values: list[float]

    @property
    def slope(self) -> float:
        """Growth per hour, by least squares."""
        return statistics.linear_regression(self.hours, self.values).slope if len(self.hours) > 1 else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """Medians of the first and of the last third."""
        third = max(1, len(self.values) // 3)
        return statistics.median(self.values[:third]), statistics.median(self.values[-third:])


@click.command()
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--rate", default=20.0, show_default=True, help="Calls per second.")
@click.option("--interval", default=10.0, show_default=True, help="Seconds between two samples.")
def main(minutes: float, rate: float, interval: float) -> None:
    """Call, and write the table."""
    samples: list[tuple[float, list[float]]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        server, calls = _serve(stack, folder)
        calls.occupy()
        load = Load(calls, rate)
        callers = stack.enter_context(ThreadPoolExecutor(CALLERS))
        stack.callback(load.end)
        running = [callers.submit(load.run, number) for number in range(CALLERS)]
        begin = time.monotonic()
        for number in itertools.count(1):
            time.sleep(max(0, begin + number * interval - REST - time.monotonic()))
            load.rest()
            samples.append(((time.monotonic() - begin) / 3600, server.sample()))
            calls.commit()
            load.resume()
            click.echo(" ".join(f"{value:.1f}" for value in [samples[-1][0] * 60, *samples[-1][1]]), err=True)
            for caller in running:
                if caller.done():
                    caller.result()
            if time.monotonic() - begin > minutes * 60:
                break
        log = (folder / "log").read_text()
    click.echo("\n".join(f"{count} {status}" for status, count in sorted(load.statuses.items())), err=True)
    click.echo(log[-2000:], err=True)
    table, is_right = _table(samples, minutes, load.statuses)
    PAGE.write_text(
        re.sub(r"(?<=<!-- make soak -->\n).*?(?=<!-- end -->)", lambda match: table, PAGE.read_text(), flags=re.DOTALL)
    )
    sys.exit(not is_right)


def _serve(stack: ExitStack, folder: Path) -> tuple[Server, Calls]:
    database = stack.enter_context(postgresql_of_our_own())
    database.reset()
    create_tables(database.uri)
    repository = GitRepository(folder / "repository")
    for number in range(FILES):
        repository.write(f"src/file{number}.py", numbered(1, 41, f"line{number}"))
    repository.commit()
    with disposed(make_app(database.uri)) as app, app.app_context():
        tenant = add_tenant("soak")
        own = db.session.get_one(Repository, tenant.repository)
        own.mirror_path, own.default_branch = str(repository.path / ".git"), "main"
        db.session.add_all(
            Repository(organization_id=tenant.organization, name=f"soak/{number}", url="https://git.example/" * 5)
            for number in range(REPOSITORIES)
        )
        db.session.commit()
    port = free_port()
    options = ["--worker-class", "gthread", "--threads", str(THREADS), "--keep-alive", "60"]
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", address, *options]
    environ = {"FLASK_SQLALCHEMY_DATABASE_URI": database.uri, "PYTHONPATH": str(ROOT)}
    app_factory = "benchmarks.soak:create_app()"
    process = stack.enter_context(listening([*command, app_factory], port, folder / "log", environ))
    calls = Calls(f"http://127.0.0.1:{port}", tenant, repository)
    stack.callback(calls.close)
    return Server(port, process.pid), calls


def _table(samples: list[tuple[float, list[float]]], minutes: float, statuses: Counter[str]) -> tuple[str, bool]:
    warm_up = min(10.0, minutes / 3)
    kept = [(hour, values) for hour, values in samples if hour * 60 >= warm_up]
    hours = [hour for hour, _ in kept]
    found = {name: Series(hours, [values[i] for _, values in kept]) for i, name in enumerate(FIGURES)}
    lines = [
        f"{statuses.total()} calls in {minutes:.0f} minutes, {statuses.total() / minutes / 60:.0f} a second;"
        f" figures from minute {warm_up:.0f}. Python {platform.python_version()}.",
        "",
        "| at rest | first third | last third | least to most | growth per hour |",
        "|---|---:|---:|---:|---:|",
    ]
    is_right = not any("INTERNAL" in status and "malformed" not in status for status in statuses)
    for name, series in found.items():
        first, last = series.ends
        digits = 1 if "MiB" in name else 0
        is_right &= series.slope <= MIB_PER_HOUR if "MiB" in name else last <= first
        cells = [f"{first:.{digits}f}", f"{last:.{digits}f}"]
        cells += [f"{min(series.values):.{digits}f} to {max(series.values):.{digits}f}", f"{series.slope:+.1f}"]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n", is_right


if __name__ == "__main__":
    main()
