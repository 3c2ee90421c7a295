"""Probes of the deployment: alive without the database, ready with it; not ready before it stops."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from example_app import dice_pb2
from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.testing import assert_rpc_error
from tests.deploy.deployment import PATIENCE, TOKEN, deployed, eventually, page
from tests.deploy.load import DICE, SCM
from tests.faults.postgresql import PostgresqlServer
from tests.faults.redis_server import RedisServer

pytestmark = pytest.mark.needs("deployment")

DRAIN_SECONDS = "6"


def test_alive_without_the_database_and_ready_with_it(
    postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path
) -> None:
    with deployed(tmp_path, postgresql, redis, WEB_CONCURRENCY="1") as deployment:

        def status(path: str) -> int:
            return page(f"http://127.0.0.1:{deployment.direct}/healthz/{path}")[0]

        eventually(lambda: (status("live"), status("ready")) == (200, 200))
        postgresql.stop()
        try:
            eventually(lambda: status("ready") == 503)
            assert status("live") == 200
        finally:
            postgresql.start()
            postgresql.wait_until_ready()
        eventually(lambda: status("ready") == 200)


def test_a_server_that_stops_is_not_ready_first_and_ends_its_streams(
    postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path
) -> None:
    with deployed(tmp_path, postgresql, redis, WEB_CONCURRENCY="1", DRAIN_SECONDS=DRAIN_SECONDS) as deployment:
        ready = f"http://127.0.0.1:{deployment.direct}/healthz/ready"
        ca_certs = str(deployment.nginx.certificate)
        with Channel(deployment.url, token=TOKEN, timeout=PATIENCE, ca_certs=ca_certs) as channel:
            # It is ended by one number of a hundred, twenty a second.
            throws = iter(channel.stub(DICE).roll_until(dice_pb2.RollUntilRequest(target=1, sides=100)))
            first = next(throws)
            stopping = threading.Thread(target=deployment.gunicorn.stop)
            stopping.start()
            try:
                eventually(lambda: page(ready)[0] == 503)
                assert page(ready.replace("ready", "live"))[0] == 200
                # It serves calls as before.
                with assert_rpc_error(StatusCode.NOT_FOUND):
                    channel.stub(SCM).list_repositories(scm_pb2.ListRepositoriesRequest(organization_id=1))
                # Until its end, after SIGTERM too.
                assert [first.value, *(throw.value for throw in throws)][-1] == 1
            finally:
                stopping.join()
        assert not deployment.gunicorn.is_running
