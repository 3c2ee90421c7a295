"""Reloads of gunicorn that follow each other, are interrupted, or find streams open: new workers alone are left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_app import dice_pb2
from flask_grpcweb_scm.client import Channel
from tests.deploy.deployment import DEPLOY, PATIENCE, TOKEN, Deployment, deployed, eventually
from tests.deploy.load import DICE
from tests.deploy.test_rolling_restart import reload_gunicorn, worker_pids
from tests.faults.postgresql import PostgresqlServer
from tests.faults.redis_server import RedisServer

pytestmark = pytest.mark.needs("deployment")

WORKERS = 2


@pytest.fixture
def deployment(postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path) -> Iterator[Deployment]:
    # A stream ends by one throw of a hundred.
    environ = {"WEB_CONCURRENCY": str(WORKERS), "FLASK_DICE_PAUSE": "2"}
    with deployed(tmp_path, postgresql, redis, **environ) as deployment:
        eventually(lambda: len(ready(deployment)) == WORKERS)
        yield deployment


def ready(deployment: Deployment) -> set[int]:
    return {int(file.name) for file in (deployment.folder / "run/scm-web/ready").iterdir()}


def test_while_streams_of_the_release_before_are_open(deployment: Deployment) -> None:
    over = threading.Event()

    def stream() -> None:
        with Channel(f"http://127.0.0.1:{deployment.direct}", token=TOKEN, timeout=PATIENCE) as channel:
            for _ in channel.stub(DICE).roll_until(dice_pb2.RollUntilRequest(target=1, sides=100)):
                if over.is_set():
                    return

    streams = [threading.Thread(target=stream) for _ in range(4)]
    for each in streams:
        each.start()
    try:
        time.sleep(1)
        before = worker_pids(deployment)
        deployment.gunicorn.reload()
        second = ready(deployment) - before
        assert len(second) == WORKERS
        # Those of the first are there still, with their streams.
        assert worker_pids(deployment) & before
        deployment.gunicorn.reload()
        third = ready(deployment) - before - second
        assert len(third) == WORKERS
    finally:
        over.set()
        for each in streams:
            each.join()
    eventually(lambda: worker_pids(deployment) == third == ready(deployment))


@pytest.mark.parametrize("seconds", [0.5, 1.5, 4.0], ids=["before", "as it waits", "in the end"])
def test_one_that_is_interrupted_is_made_up_for_by_the_next(deployment: Deployment, seconds: float) -> None:
    before = worker_pids(deployment)
    environ = {**deployment.environ, "READY_FOLDER": str(deployment.folder / "run/scm-web/ready")}
    script = subprocess.Popen([DEPLOY / "reload-gunicorn", str(deployment.gunicorn.pid)], env=environ)
    time.sleep(seconds)
    script.send_signal(signal.SIGTERM)
    script.wait(PATIENCE)
    reload_gunicorn(deployment)
    eventually(lambda: len(worker_pids(deployment)) == WORKERS)
    assert worker_pids(deployment).isdisjoint(before)
    assert ready(deployment) == worker_pids(deployment)


def test_without_a_gunicorn(tmp_path: Path) -> None:
    for arguments in [], ["4194305"]:
        (tmp_path / "ready").mkdir(exist_ok=True)
        (tmp_path / "workers").write_text("2 2\n")
        environ = {**os.environ, "READY_FOLDER": str(tmp_path / "ready")}
        done = subprocess.run(
            [DEPLOY / "reload-gunicorn", *arguments], env=environ, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode != 0
        assert done.stderr
