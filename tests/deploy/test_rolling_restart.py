"""Releases under load: the deployment is restarted part by part, and no call fails.

``make deploy`` does it ten times over.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import RetryPolicy
from tests.deploy.deployment import TOKEN, Deployment, deployed, eventually, page
from tests.deploy.load import Load
from tests.faults.postgresql import DATABASE, PostgresqlServer
from tests.faults.redis_server import RedisServer

pytestmark = [pytest.mark.needs("deployment")]

logger = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("ROUNDS", "1"))
PAUSE = 1.0


def add_rows(flask: Callable[..., object]) -> tuple[int, int]:
    """An organization with a project and a repository; gives the ids of these.

    :param flask: runs a command of the app.
    """
    flask("scm", "add-organization", "acme")
    flask("scm", "add-project", "acme", "web")
    flask("scm", "add-repository", "acme", "shop")
    return 1, 1


def stored(postgresql: PostgresqlServer, database: str = DATABASE) -> set[str]:
    rows = postgresql.execute("SELECT stack_root FROM scm_code_mapping", database=database)
    return {root for (root,) in rows}


def reload_gunicorn(deployment: Deployment) -> None:
    before = worker_pids(deployment)
    deployment.gunicorn.reload()
    eventually(lambda: worker_pids(deployment).isdisjoint(before))


def worker_pids(deployment: Deployment) -> set[int]:
    pid = deployment.gunicorn.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def restart_gunicorn(deployment: Deployment) -> None:
    deployment.gunicorn.restart()
    eventually(lambda: page(f"http://127.0.0.1:{deployment.direct}/healthz/ready")[0] == 200)


Step = Callable[[Deployment], object]
STEPS: dict[str, list[Step]] = {
    "gunicorn": [
        reload_gunicorn,
        lambda deployment: deployment.nginx.reload(),
        lambda deployment: deployment.worker.restart(),
    ],
    "pyvoy": [
        lambda deployment: deployment.restart_pyvoy(),
        lambda deployment: deployment.worker.restart(),
    ],
}


# Calls wait meanwhile, so that fifty a second are fewer: once, in the end.
LAST: dict[str, list[Step]] = {"gunicorn": [restart_gunicorn], "pyvoy": []}


@pytest.mark.parametrize("web", STEPS)
def test_no_call_fails(web: str, postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path) -> None:
    with deployed(tmp_path, postgresql, redis, web) as deployment:
        mappings = add_rows(deployment.flask)
        with Load(deployment.url, TOKEN, certificate=deployment.nginx.certificate, mappings=mappings) as load:
            time.sleep(PAUSE)
            for step in [*STEPS[web] * ROUNDS, *LAST[web]]:
                step(deployment)
                time.sleep(PAUSE)
        logger.info("%s, %d rounds: %s", web, ROUNDS, load)
        assert load.failures == []
        assert load.calls[StatusCode.OK] > 100
        assert load.streams.keys() <= {StatusCode.OK, StatusCode.UNAVAILABLE}
        assert load.streams[StatusCode.OK] > 0
        assert load.acknowledged <= stored(postgresql)


@pytest.fixture(params=[None, RetryPolicy()], ids=["without retries", "with the retries of the client"])
def retry(request: pytest.FixtureRequest) -> RetryPolicy | None:
    policy: RetryPolicy | None = request.param
    return policy


def test_a_restart_of_the_database(
    retry: RetryPolicy | None, postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path
) -> None:
    with deployed(tmp_path, postgresql, redis) as deployment:
        mappings = add_rows(deployment.flask)
        with Load(
            deployment.url, TOKEN, certificate=deployment.nginx.certificate, retry=retry, mappings=mappings
        ) as load:
            for _ in range(ROUNDS):
                time.sleep(PAUSE)
                postgresql.stop()
                postgresql.start()
                postgresql.wait_until_ready()
                time.sleep(PAUSE)
        logger.info("PostgreSQL, %d restarts, %s: %s", ROUNDS, "retries" if retry else "no retries", load)
        assert load.calls.keys() <= ({StatusCode.OK} if retry else {StatusCode.OK, StatusCode.UNAVAILABLE}), (
            load.failures
        )
        assert load.streams.keys() <= {StatusCode.OK, StatusCode.UNAVAILABLE}
        assert load.acknowledged <= stored(postgresql)
        eventually(lambda: deployment.worker.is_running)
