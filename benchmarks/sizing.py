"""Figures for docs/sizing.md, of the example with its demo: ``python -m benchmarks.sizing``, or ``make sizing``.

By server, protocol and database: calls a second of all cores, h2load among them; what one call of a hundred takes at
half of that rate; and the memory of each worker afterwards. And what a row takes in PostgreSQL, with its indexes. Takes
about a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks.servers import Processes
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from tests.faults.postgresql import PostgresqlServer, postgresql_of_our_own
from tests.grpcweb import frame
from tests.scm.databases import disposed
from tests.scm.growth import grow
from tests.scm.support import add_tenant, make_app
from tests.servers import ROOT, free_port, listening

PAGE = ROOT / "docs/sizing.md"
SERVICE = "/sentry.integrations.scm.v1.ScmService/"
PROGRAMS = Path(sys.executable).parent
WORKERS, THREADS, CONNECTIONS = 2, 16, 16
SECONDS = 3
ROUNDS = 3
ROWS = 20_000
BYTES_PER_FRAME_HEAD = 5
SERVERS = {
    "gunicorn": [
        *("gunicorn", "--no-control-socket", "--worker-class", "gthread", "--workers", str(WORKERS)),
        *("--threads", str(THREADS), "--keep-alive", "30", "--bind", "127.0.0.1:{port}", "example_app.wsgi:app"),
    ],
    "granian": [
        *("granian", "--interface", "wsgi", "--workers", str(WORKERS), "--blocking-threads", str(THREADS)),
        *("--log-level", "warning", "--port", "{port}", "example_app.wsgi:app"),
    ],
    # One process, whose threads share one core of Python.
    "pyvoy": [
        *("pyvoy", "example_app.wsgi:app", "--interface", "wsgi", "--port", "{port}"),
        *("--worker-threads", str(THREADS)),
    ],
}
CALLS = {
    "ListRepositories": scm_pb2.ListRepositoriesRequest(organization_id=1),
    "GetCommitContext": scm_pb2.GetCommitContextRequest(repository_id=1, filepath="README.md", line_number=5),
}
# Content type, and options of h2load.
PROTOCOLS = {
    "gRPC-Web": ("application/grpc-web+proto", "--h1"),
    "Connect, JSON": ("application/json", "--h1"),
    "gRPC": ("application/grpc", ""),
}


def protocols_of(server: str) -> list[str]:
    """The protocols that a server speaks here."""
    return [name for name in PROTOCOLS if name != "gRPC" or server == "pyvoy"]


@contextmanager
def served(server: str, environ: Mapping[str, str], folder: Path) -> Iterator[tuple[Processes, int]]:
    """Run a server; gives its processes and its port."""
    port = free_port()
    arguments = [word.format(port=port) for word in SERVERS[server]]
    arguments[0] = str(PROGRAMS / arguments[0])
    with listening(arguments, port, folder / "log", {**environ, "PYTHONPATH": str(ROOT)}) as process:
        yield Processes(process.pid), port


def h2load(port: int, method: str, protocol: str, folder: Path, *options: str) -> tuple[float, float]:
    """Calls a second, and milliseconds of the slowest of a hundred."""
    request = CALLS[method]
    content_type, http = PROTOCOLS[protocol]
    body, log = folder / "body", folder / "times"
    if protocol == "Connect, JSON":
        fields = (
            {"organizationId": 1}
            if method == "ListRepositories"
            else {"repositoryId": 1, "filepath": "README.md", "lineNumber": 5}
        )
        body.write_text(json.dumps(fields))
    else:
        body.write_bytes(frame(request.SerializeToString()))
    log.unlink(missing_ok=True)
    headers = [f"-Hcontent-type: {content_type}", "-Hte: trailers"]
    command = ["h2load", *options, f"-c{CONNECTIONS}", f"-D{SECONDS}", "--warm-up-time=1", f"--log-file={log}"]
    command += [*filter(None, [http]), "-d", str(body), *headers, f"http://127.0.0.1:{port}{SERVICE}{method}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+) req/s.*, (\d+) succeeded, 0 failed, 0 errored", output, re.DOTALL)
    assert found is not None, output
    microseconds = [int(line.split()[2]) for line in log.read_text().splitlines()]
    return float(found[1]), statistics.quantiles(microseconds, n=100)[98] / 1e3


def measure(server: str, database: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the rows of the table of a server and a database."""
    with tempfile.TemporaryDirectory() as name, served(server, environ, Path(name)) as (processes, port):
        folder = Path(name)
        rows = []
        # A server listens before its processes have imported the app.
        warm_up = ["h2load", "--h1", f"-c{CONNECTIONS}", "-n500", f"http://127.0.0.1:{port}/"]
        subprocess.run(warm_up, check=True, capture_output=True)
        for protocol in protocols_of(server):
            cells = []
            for method in CALLS:
                # What else the machine does makes both of them worse, and never better.
                most = max(h2load(port, method, protocol, folder)[0] for _ in range(ROUNDS))
                rate = f"--rps={max(1, int(most / 2 / CONNECTIONS))}"
                slowest = min(h2load(port, method, protocol, folder, rate)[1] for _ in range(ROUNDS))
                cells += [f"{most:.0f}", f"{slowest:.1f} ms"]
            rows.append((protocol, cells))
        workers = 1 if server == "pyvoy" else WORKERS
        memory = processes.mebibytes / workers
    for protocol, cells in rows:
        yield f"| {server} | {protocol} | {database} | {' | '.join(cells)} | {memory:.0f} MiB |"


def bytes_of_rows(postgresql: PostgresqlServer) -> Iterator[str]:
    """Yield the rows of the table of sizes: bytes of a row in PostgreSQL with its indexes."""
    postgresql.reset()
    with disposed(make_app(postgresql.uri)) as app:
        with app.app_context():
            db.create_all()
            tenant = add_tenant("acme")
        grow(app, tenant, 1, ROWS)
    postgresql.execute("VACUUM FULL ANALYZE", database="faulty")
    query = (
        "SELECT relname, reltuples, pg_total_relation_size(oid) / reltuples, pg_relation_size(oid) / reltuples"
        " FROM pg_class WHERE relkind = 'r' AND relname LIKE 'scm%' AND reltuples > 0 ORDER BY relname"
    )
    for name, rows, total, own in postgresql.execute(query, database="faulty"):
        if rows >= ROWS:
            yield f"| `{name}` | {own:.0f} | {total:.0f} |"


def write(mark: str, table: str) -> None:
    """Write a table into the page."""
    pattern = rf"(?<=<!-- make sizing: {mark} -->\n).*?(?=<!-- end -->)"
    PAGE.write_text(re.sub(pattern, lambda match: table, PAGE.read_text(), count=1, flags=re.DOTALL))


@click.command()
@click.option("--rows-only", is_flag=True, help="Only the sizes of rows, which no other work disturbs.")
def main(rows_only: bool) -> None:
    """Measure, and write the tables."""
    if not rows_only and shutil.which("h2load") is None:
        raise click.ClickException("h2load is missing; on Debian and Ubuntu: sudo apt install nghttp2-client")
    with postgresql_of_our_own() as postgresql:
        sizes = [*bytes_of_rows(postgresql)]
        head = "| table | bytes of a row | with its indexes |\n|---|---:|---:|\n"
        write("rows", head + "\n".join(sizes) + "\n")
        if rows_only:
            return
        found = []
        with tempfile.TemporaryDirectory() as folder:
            postgresql.reset()
            for database, uri in {"SQLite": f"sqlite:///{folder}/scm.db", "PostgreSQL": postgresql.uri}.items():
                environ = {
                    **os.environ,
                    "FLASK_SQLALCHEMY_DATABASE_URI": uri,
                    "FLASK_GRPC_CONSOLE": "false",
                    "FLASK_SECRET_KEY": "of the benchmarks",
                }
                demo = [str(PROGRAMS / "flask"), "--app", "example_app", "scm", "demo"]
                subprocess.run(demo, cwd=ROOT, env=environ, check=True, stdout=sys.stderr)
                for server in SERVERS:
                    for row in measure(server, database, environ):
                        click.echo(row, err=True)
                        found.append(row)
    names = " | ".join(f"{name}, a second | p99 at half of it" for name in CALLS)
    lines = [
        f"| server | protocol | database | {names} | memory of a worker |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    footer = f"Python {platform.python_version()}, {os.cpu_count()} cores, of which h2load has its part;"
    footer += f" the best of {ROUNDS} runs of {SECONDS} seconds each."
    write("calls", "\n".join([*lines, *sorted(found), "", footer, ""]))


if __name__ == "__main__":
    main()
