"""A Redis of a test's own, to be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import check_need, free_port

START_SECONDS = 10.0


class RedisServer:
    """A server that a test does as it likes with."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self._command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(folder)]
        self.start()

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

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

        with redis.Redis(port=self.port) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


@contextlib.contextmanager
def redis_of_our_own() -> Iterator[RedisServer]:
    """Run the server of this machine while the block runs; skip the test where there is none."""
    check_need("Redis")
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is not installed: apt-get install redis-server"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(program, Path(folder))
        try:
            yield server
        finally:
            server.end(signal.SIGKILL)
