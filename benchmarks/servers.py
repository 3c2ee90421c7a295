"""Costs of calls on each server: ``make servers``, which writes the table of docs/servers.md.

In seconds of CPU of all processes of a server, from /proc, hence on Linux alone: how many calls there are in a second
is as much the client's matter and that of what else the machine does. One worker process with sixteen threads serves
the variant *fast lane*, and h2load calls it over four connections. Each figure is the least of some rounds, in which
the servers take turns.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks.apps import LIST, STREAM, repositories
from benchmarks.calls import PAGE as REQUEST
from benchmarks.sockets import CONNECTIONS, GRPC, THREADS, check_sizes, h2load
from benchmarks.streams import COUNT
from benchmarks.wsgi import BINARY
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.servers import ROOT, command, free_port, listening

PAGE = ROOT / "docs/servers.md"
CALLS = 3000
STREAMS = 5
FACTORY = "benchmarks.sockets:create_app"
HTTP2_OF_GUNICORN = ["--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge"]
SERVERS = {
    "gunicorn, gthread": "gunicorn",
    "gunicorn, gevent": "gunicorn gevent",
    "granian": "granian",
    "waitress": "waitress",
    "pyvoy": "pyvoy",
}
HTTP2 = {"gunicorn, gthread", "granian", "pyvoy"}
SPEAKS_GRPC = {"gunicorn, gthread", "pyvoy"}


class Processes:
    """The processes of a server.

    :param pid: of the first; the others are its children.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @property
    def seconds(self) -> float:
        """CPU that they have taken."""
        ticks = sum(sum(map(int, fields[11:13])) for fields in self._fields())
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def mebibytes(self) -> float:
        """Memory that they have, of what they share each its part."""
        texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self._pids())
        return sum(int(size) for text in texts for size in re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)) / 1024

    def _pids(self) -> Iterator[int]:
        pids = [self._pid]
        for pid in pids:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        yield from pids

    def _fields(self) -> Iterator[list[str]]:
        for pid in self._pids():
            # The name before them may have spaces.
            yield Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


@contextmanager
def served(name: str, *options: str) -> Iterator[tuple[Processes, int]]:
    """Run a server; gives its processes and its port."""
    port = free_port()
    arguments = command(SERVERS[name], FACTORY, port, threads=THREADS)
    arguments[-1:-1] = options
    with tempfile.TemporaryDirectory() as folder:
        environ = {"BENCHMARK_VARIANT": "fast lane", "PYTHONPATH": str(ROOT)}
        with listening(arguments, port, Path(folder, "log"), environ) as process:
            yield Processes(process.pid), port


def _unary(port: int, count: int, content_type: str = BINARY, *options: str) -> None:
    found = h2load(port, content_type, LIST, REQUEST, f"-c{CONNECTIONS}", f"-n{count}", *options)
    check_sizes(found, [repositories(1)])


def _stream(port: int, count: int) -> None:
    found = h2load(port, BINARY, STREAM, EchoRequest(count=COUNT).SerializeToString(), "-c1", f"-n{count}", "--h1")
    check_sizes(found, [EchoReply(number=number) for number in range(COUNT)])


def _microseconds(processes: Processes, call: Callable[[int], None], count: int, parts: int = 1) -> float:
    call(max(1, count // 5))  # to warm up
    before = processes.seconds
    call(count)
    return (processes.seconds - before) / count / parts * 1e6


def measure(name: str) -> list[float]:
    """One round of a server; a figure that it has not is infinite."""
    http2 = in_grpc = float("inf")
    with served(name) as (processes, port):
        http1 = _microseconds(processes, lambda count: _unary(port, count, BINARY, "--h1"), CALLS)
        message = _microseconds(processes, lambda count: _stream(port, count), STREAMS, COUNT)
        memory = processes.mebibytes
    if name in HTTP2:
        with served(name, *(HTTP2_OF_GUNICORN if name.startswith("gunicorn") else ())) as (processes, port):
            http2 = _microseconds(processes, lambda count: _unary(port, count), CALLS)
            if name in SPEAKS_GRPC:
                in_grpc = _microseconds(processes, lambda count: _unary(port, count, GRPC), CALLS)
    return [http1, http2, in_grpc, message, memory]


@click.command()
@click.option("--rounds", default=5, show_default=True)
def main(rounds: int) -> None:
    """Measure, and write the table."""
    found: dict[str, list[list[float]]] = {name: [] for name in SERVERS}
    for _ in range(rounds):
        for name, figures in found.items():
            figures.append(measure(name))
            click.echo(f"{name}: {' '.join(f'{figure:.1f}' for figure in figures[-1])}", err=True)
    lines = [
        "| server | a call over HTTP/1.1 | over HTTP/2 | in gRPC | a message of a stream | memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, rows in found.items():
        *costs, memory = map(min, zip(*rows, strict=True))
        cells = [f"{cost:.{1 if cost < 10 else 0}f} µs" if cost < float("inf") else "" for cost in costs]
        lines.append(f"| {name} | {' | '.join(cells)} | {memory:.0f} MiB |")
    table = "\n".join([*lines, "", f"Python {platform.python_version()}, {rounds} rounds.", ""])
    page = PAGE.read_text()
    PAGE.write_text(
        re.sub(r"(?<=<!-- make servers -->\n).*?(?=<!-- end -->)", lambda match: table, page, flags=re.DOTALL)
    )


if __name__ == "__main__":
    sys.exit(main())
