"""A Redis of a test's own, to be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers import check_need, free_port

START_SECONDS = 10.0


class RedisServer:
    """A server that a test does as it likes with.

    :param inside: the beginning of its command, which has it run on another host.
    :param options: the end of its command.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        address: str = "127.0.0.1",
        inside: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.port, self._address = free_port(), address
        listen = ["--bind", address, "--port", str(self.port), "--protected-mode", "no"]
        self._command = [*inside, program, *listen, "--save", "", "--dir", str(folder), *options]
        self.start()

    @property
    def uri(self) -> str:
        return f"redis://{self._address}:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._responds():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not respond"
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> None:
        """End the process by a signal."""
        self._process.send_signal(number)
        self._process.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the server do nothing while the block runs."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.resume()

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _responds(self) -> bool:
        import redis  # not there where tests need no Redis

        with redis.Redis(self._address, self.port) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


@contextlib.contextmanager
def _connections_closed_at_the_end() -> Iterator[None]:
    """Close those of this process: an app has no end at which it would, and the garbage collector may warn of them."""
    import redis

    pools: list[redis.ConnectionPool] = []
    make = redis.ConnectionPool.__init__

    def note(pool: redis.ConnectionPool, *arguments: Any, **options: Any) -> None:
        make(pool, *arguments, **options)
        pools.append(pool)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis.ConnectionPool, "__init__", note)
        yield
    for pool in pools:
        pool.disconnect()


@contextlib.contextmanager
def redis_of_our_own(
    address: str = "127.0.0.1", inside: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[RedisServer]:
    """Run the server of this machine while the block runs; skip the test where there is none.

    :param address: as of :class:`RedisServer`.
    """
    check_need("Redis")
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is not installed: apt-get install redis-server"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, _connections_closed_at_the_end():
        server = RedisServer(program, Path(folder), address, inside, options)
        try:
            yield server
        finally:
            server.end(signal.SIGKILL)
