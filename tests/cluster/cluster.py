"""Two app hosts behind nginx, two worker hosts with Celery, PostgreSQL and Redis: deploy/ on a network of hosts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError
from flask_grpcweb_scm.scm import Integration, Job, Project, Repository, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, make_due
from flask_grpcweb_scm.scm.trackers import outbox
from tests.cluster.network import Network, network
from tests.cluster.provider import Provider
from tests.deploy.deployment import DEPLOY, PROGRAMS, Nginx, Unit, environment_file, eventually, page
from tests.faults.postgresql import PostgresqlServer, postgresql_of_our_own
from tests.faults.redis_server import RedisServer, redis_of_our_own
from tests.scm.databases import create_tables
from tests.scm.sources.providers import running
from tests.scm.sync.hosts import TOKEN
from tests.scm.sync.syncing import add_installation, commits_of, syncing_app, syncs_are_idle
from tests.scm.webhooks.sending import GITHUB_SECRET
from tests.servers import ROOT

logger = logging.getLogger(__name__)

APPS, WORKERS = ("app1", "app2"), ("worker1", "worker2")
PORT = 8100
REPOSITORIES = range(1, 7)
COMMITS = 200
LEASE = 5
CALLER_TOKEN = "token-of-the-callers-of-the-cluster"


class Cluster:
    """Everything that runs on the hosts, and the app as an operator has it on another machine."""

    def __init__(
        self,
        folder: Path,
        lan: Network,
        postgresql: PostgresqlServer,
        redis: RedisServer,
        provider: Provider,
        app: Flask,
    ) -> None:
        self.hosts, self.postgresql, self.redis = lan.hosts, postgresql, redis
        self.provider, self.app, self._folder = provider, app, folder
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLASK_")},
            **environment_file(DEPLOY / "scm.env"),
            "FLASK_SECRET_KEY": "the key of the tests of the cluster",
            "FLASK_GRPC_AUTH_TOKENS": CALLER_TOKEN,
            "FLASK_TRUSTED_HOSTS": ",".join(host.address for host in lan.hosts.values()),
            "FLASK_SQLALCHEMY_DATABASE_URI": postgresql.uri,
            "FLASK_GRPC_RATE_LIMIT_STORAGE": redis.uri,
            "FLASK_GRPC_RATE_LIMITS": "1000/second",
            "FLASK_CELERY__broker_url": f"{redis.uri}/1",
            "FLASK_GRPC_SCM_CREDENTIALS": json.dumps({"bot": TOKEN}),
            "FLASK_GRPC_SCM_ALLOWED_HOSTS": lan.address,
            "FLASK_GRPC_SCM_WEBHOOKS": json.dumps({"main": GITHUB_SECRET}),
            "FLASK_GRPC_SCM_JOB_LEASE": str(LEASE),
            "FLASK_GRPC_TRACKER_TIMEOUT": str(LEASE),
            "GUNICORN_BIND": f"0.0.0.0:{PORT}",
            "WEB_CONCURRENCY": "1",
        }
        servers = [f"server {lan.hosts[name].address}:{PORT} max_fails=1 fail_timeout=5s;" for name in APPS]
        edge, home = lan.hosts["edge"], folder / "edge"
        home.mkdir()
        replaced = {
            "server unix:/run/scm-web.sock max_fails=0;": "\n".join(servers),
            "/etc/nginx/scm/": f"{home}/nginx/",
            "/var/log/nginx/": f"{home}/log/",
        }
        self.nginx = Nginx(home, replaced, edge.address, edge.inside)
        self.url = f"https://{edge.address}"
        self._units = {name: self._unit(name, "scm-web.service") for name in APPS}
        self._units |= {name: self._unit(name, "scm-celery.service") for name in WORKERS}

    def _unit(self, name: str, unit: str) -> Unit:
        home = self._folder / name
        home.mkdir()
        replaced = {
            "/opt/scm/current/.venv/bin": str(PROGRAMS),
            "/opt/scm/current": str(ROOT),
            "/run/scm-": f"{home}/run/scm-",
            # As machines of their own would have it.
            "--concurrency": f"--hostname {name} --concurrency",
        }
        environ = {**self.environ, "FLASK_GRPC_SCM_MIRRORS": str(home / "mirrors")}
        return Unit(unit, home, environ, replaced, inside=self.hosts[name].inside)

    def start(self) -> None:
        for unit in self._units.values():
            unit.start()
        self.nginx.start()
        for name in APPS:
            self.wait_for(name)
        self.wait_until_synced()

    def wait_for(self, name: str) -> None:
        """Wait until an app host serves."""
        eventually(lambda: page(f"http://{self.hosts[name].address}:{PORT}/healthz/ready")[0] == 200)

    @contextlib.contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """End all processes of a host; after the block it starts again."""
        host = self.hosts[name]
        host.kill()
        if name == "postgresql":
            # Nobody has this number on a machine that starts; here a dead process does, until init looks at it.
            (self.postgresql.folder / "data/postmaster.pid").unlink()
            yield
            self.postgresql.start()
        elif name == "redis":
            self.redis.end(signal.SIGKILL)
            yield
            self.redis.start()
        else:
            self._units[name].clear()
            yield
            self._units[name].start()

    def wait_until_synced(self) -> None:
        """Wait until each repository is as git says, and no job is under way or due."""
        self.until(lambda: syncs_are_idle(len(REPOSITORIES)) and not self.behind())

    def finish_issues(self) -> None:
        """Complete what calls have left in the outbox and nobody has called again, as an operator does."""

        def is_empty() -> bool:
            for operation in outbox.unfinished():
                # Until its lease is over.
                with contextlib.suppress(RpcError):
                    outbox.resume(operation)
            return not outbox.unfinished()

        self.until(is_empty)

    def until(self, is_so: Callable[[], bool]) -> None:
        def check() -> bool:
            for unit in self._units.values():
                unit.start_if_ended()
            with self.app.app_context(), contextlib.suppress(sa.exc.SQLAlchemyError):
                return is_so()
            return False

        eventually(check)

    def behind(self) -> list[int]:
        """The repositories that are not as git says."""
        return [number for number in REPOSITORIES if self.stored(number) != commits_of(self.git(number))]

    def stored(self, number: int) -> list[str]:
        """The commits of a repository, each as often as it is stored."""
        query = (
            "SELECT key FROM scm_commit WHERE repository_id = (SELECT id FROM scm_repository WHERE external_id = :n)"
        )
        return sorted(db.session.scalars(sa.text(query), {"n": str(number)}))

    def git(self, number: int) -> Path:
        return self._folder / "git" / str(number)

    def claims(self) -> dict[int, Any]:
        """The ends of the leases of the jobs that are under way, by job; none is longer than it may be."""
        with self.app.app_context():
            rows = db.session.execute(sa.select(Job.id, Job.claimed_until).where(Job.claimed_until.is_not(None))).all()
            # Later than all of these claims.
            now = database_now()
        assert all(row.claimed_until <= now + timedelta(seconds=LEASE) for row in rows)
        return {row.id: row.claimed_until for row in rows if row.claimed_until > now}

    def ids(self) -> tuple[int, int, dict[int, int]]:
        """Of the organization's project, of its integration, and of the repositories, by their numbers."""
        with self.app.app_context():
            rows = db.session.execute(sa.select(Repository.external_id, Repository.id)).all()
            project = db.session.scalars(sa.select(Project.id)).one()
            integration = db.session.scalars(sa.select(Integration.id)).one()
            return project, integration, {int(number): row for number, row in rows}

    def stop(self) -> None:
        for name, unit in self._units.items():
            self.hosts[name].kill()
            unit.clear()

    def logs(self) -> str:
        return "".join(f"{name}:\n{unit.log.read_text()[-3000:]}\n" for name, unit in self._units.items())


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run the cluster while the block runs, with an organization that is synced."""
    with contextlib.ExitStack() as stack:
        lan = stack.enter_context(network("edge", *APPS, *WORKERS, "postgresql", "redis"))
        at = {name: (host.address, host.inside) for name, host in lan.hosts.items()}
        address, inside = at["postgresql"]
        postgresql = stack.enter_context(postgresql_of_our_own(address=address, inside=inside))
        postgresql.reset()
        create_tables(postgresql.uri)
        redis = stack.enter_context(redis_of_our_own(*at["redis"]))
        provider = stack.enter_context(running(Provider(), lan.address))
        for number in REPOSITORIES:
            provider.add_repository(number, folder / "git" / str(number), COMMITS)
        app = stack.enter_context(syncing_app(postgresql.uri, folder, GRPC_SCM_ALLOWED_HOSTS=lan.address))
        add_installation(app, provider, "github_enterprise")
        with app.app_context():
            db.session.add(Project(organization_id=1, slug="web"))
            make_due(SYNC_ORGANIZATION, 1, organization_id=1)
            db.session.commit()
        made = Cluster(folder, lan, postgresql, redis, provider, app)
        stack.callback(made.stop)
        try:
            made.start()
            yield made
        except BaseException:
            logger.error("%s", made.logs())
            raise
