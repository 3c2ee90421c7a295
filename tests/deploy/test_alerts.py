"""Each alert of deploy/prometheus/rules.yml is triggered by its fault, and by no other.

The metrics are those of the deployment, before the fault and under it; promtool is told that it goes on like that.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from example_app import dice_pb2
from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import CallError, Channel
from flask_grpcweb_scm.pb import scm_pb2
from tests.deploy.deployment import DEPLOY, PATIENCE, TOKEN, Deployment, deployed, eventually, page
from tests.deploy.load import DICE, SCM
from tests.documents import PAGES
from tests.faults.create_issue import set_up
from tests.faults.postgresql import PostgresqlServer
from tests.faults.redis_server import RedisServer
from tests.scm.databases import disposed
from tests.scm.support import make_app
from tests.scm.trackers.github_server import GitHubServer, serve_github, status_before

pytestmark = pytest.mark.needs("deployment")

RULES = DEPLOY / "prometheus/rules.yml"
ALERTS = {
    rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
}
LIST = scm_pb2.ListRepositoriesRequest(organization_id=1)
SLOW = "ScmSlow"
LIMITED = "example.dice.v1.Dice/Roll"
MINUTES = 100

Series = dict[str, float]


def promtool(*arguments: str) -> str:
    if shutil.which("promtool") is None:
        reason = "promtool is not installed: apt-get install prometheus"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass
class Site:
    """The deployment, and what it needs from others."""

    deployment: Deployment
    postgresql: PostgresqlServer
    redis: RedisServer
    github: GitHubServer
    folder: Path
    under_fault: list[Series] = field(default_factory=list)
    """What was scraped while something was wrong; else it is scraped after the calls."""

    def call(
        self, method: str, request: Any, count: int = 1, *, token: str = TOKEN, timeout: float = PATIENCE
    ) -> set[StatusCode]:
        """Call a method; gives the statuses."""
        codes = set()
        url = f"http://127.0.0.1:{self.deployment.direct}"
        with Channel(url, token=token, timeout=timeout) as channel:
            service = DICE if isinstance(request, dice_pb2.RollRequest) else SCM
            for _ in range(count):
                try:
                    channel.call(service.methods_by_name[method], request).result()
                except CallError as error:
                    codes.add(error.code)
                else:
                    codes.add(StatusCode.OK)
        return codes

    def at_once(self, count: int, timeout: float = PATIENCE) -> set[StatusCode]:
        """Call a method many times at a time."""
        with ThreadPoolExecutor(count) as pool:
            found = pool.map(lambda _: self.call("ListRepositories", LIST, timeout=timeout), range(count))
        return {code for codes in found for code in codes}

    def scrape(self) -> Series:
        """What Prometheus would have of the page."""
        status, text = page(f"http://127.0.0.1:{self.deployment.direct}/metrics")
        found: Series = {'up{instance="web",job="scm"}': float(status == 200)}
        for family in text_string_to_metric_families(text if status == 200 else ""):
            for sample in family.samples:
                labels = {**sample.labels, "instance": "web", "job": "scm"}
                text_of = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()))
                found[f"{sample.name}{{{text_of}}}"] = sample.value
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else reads the repositories while the block runs."""
        with self.postgresql.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE scm_repository")
            yield


@pytest.fixture(scope="module")
def site(postgresql: PostgresqlServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("alerts")
    environ = {
        "WEB_CONCURRENCY": "2",
        "FLASK_GRPC_RATE_LIMITS": json.dumps({LIMITED: "5/hour", "*": "1000/second"}),
        "FLASK_GRPC_MAX_AUTH_FAILURES": "1000",
        "FLASK_GRPC_SCM_CREDENTIALS": '{"bot": "token"}',
        "FLASK_GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
    }
    with deployed(folder, postgresql, redis, may_crash=True, **environ) as deployment, serve_github() as github:
        with disposed(make_app(postgresql.uri)) as app:
            set_up(app, github.url)
        deployment.worker.stop()
        yield Site(deployment, postgresql, redis, github, folder)


# Faults


def nothing(site: Site) -> None:
    assert site.call("ListRepositories", LIST, 20) == {StatusCode.OK}


def server_is_gone(site: Site) -> None:
    site.deployment.gunicorn.stop()
    # Nobody else listens, as for Prometheus when the machine is gone.
    site.under_fault.append(site.scrape())
    site.deployment.gunicorn.start()


def table_is_gone(site: Site) -> None:
    site.postgresql.execute("ALTER TABLE scm_repository RENAME TO gone", database="faulty")
    try:
        assert site.call("ListRepositories", LIST, 5) == {StatusCode.INTERNAL}
    finally:
        site.postgresql.execute("ALTER TABLE gone RENAME TO scm_repository", database="faulty")


def database_is_gone(site: Site) -> None:
    site.postgresql.stop()
    try:
        assert site.call("ListRepositories", LIST, 5) == {StatusCode.UNAVAILABLE}
        site.under_fault.append(site.scrape())
    finally:
        site.postgresql.start()
        site.postgresql.wait_until_ready()


def redis_is_gone(site: Site) -> None:
    site.redis.end(signal.SIGKILL)
    assert site.call("ListRepositories", LIST, 5) == {StatusCode.UNAVAILABLE}
    site.redis.start()
    eventually(lambda: site.call("ListRepositories", LIST) == {StatusCode.OK})


def table_is_locked(site: Site) -> None:
    with site.locked():
        assert StatusCode.DEADLINE_EXCEEDED in site.at_once(10, timeout=2.0)


def table_is_locked_for_seconds(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        with site.locked():
            codes = pool.submit(site.at_once, 10)
            time.sleep(3)
        assert codes.result() == {StatusCode.OK}


def threads_are_busy(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        with site.locked():
            codes = pool.submit(site.at_once, 30, 9.0)
            seen: list[Series] = []

            def is_full() -> bool:
                seen.append(site.scrape())
                return sum(value for name, value in seen[-1].items() if name.startswith("grpc_server_in_flight")) > 25

            eventually(is_full)
            site.under_fault.append(seen[-1])
        codes.result()


def rate_is_exceeded(site: Site) -> None:
    assert StatusCode.RESOURCE_EXHAUSTED in site.call("Roll", dice_pb2.RollRequest(), 15)


def tokens_are_wrong(site: Site) -> None:
    assert site.call("ListRepositories", LIST, 15, token="wrong" * 8) == {StatusCode.UNAUTHENTICATED}


def no_worker_runs(site: Site) -> None:
    add_job(site, due="interval '1 hour'")
    site.under_fault.append(site.scrape())
    site.postgresql.execute("DELETE FROM scm_job", database="faulty")


def job_fails(site: Site) -> None:
    add_job(site)
    site.deployment.flask("scm", "worker", "--until-idle")
    site.under_fault.append(site.scrape())
    site.postgresql.execute("DELETE FROM scm_job", database="faulty")


def add_job(site: Site, *, due: str = "interval '0'") -> None:
    """Add a job that fails, due for an interval."""
    columns = "kind, organization_id, subject_id, due_at, requests, claims, attempts, error, date_added"
    values = f"'sync_repository', 1, 1, now() at time zone 'utc' - {due}, 1, 0, 0, '', now() at time zone 'utc'"
    site.postgresql.execute(f"INSERT INTO scm_job ({columns}) VALUES ({values})", database="faulty")


def tracker_fails(site: Site) -> None:
    site.github.faults = [status_before("500 No")] * 100
    request = scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1, title="Bug")
    assert site.call("CreateExternalIssue", request) == {StatusCode.UNAVAILABLE}
    # As if it had been so for an hour.
    site.postgresql.execute(
        "UPDATE scm_issue_operation SET date_added = date_added - interval '1 hour'", database="faulty"
    )
    # Others go well, or it is unavailable as a whole.
    assert site.call("ListRepositories", LIST, 30) == {StatusCode.OK}
    site.under_fault.append(site.scrape())
    site.postgresql.execute("DELETE FROM scm_issue_operation", database="faulty")


def git_is_slow(site: Site) -> None:
    history = site.folder / "history"
    git = shutil.which("git")
    subprocess.run([str(git), "init", "--quiet", history], check=True)
    (history / "a.txt").write_text("a\n")
    for arguments in (["add", "a.txt"], ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-qm", "a"]):
        subprocess.run([str(git), *arguments], cwd=history, check=True)
    head = subprocess.run([str(git), "rev-parse", "HEAD"], cwd=history, check=True, capture_output=True, text=True)
    site.postgresql.execute(f"UPDATE scm_repository SET mirror_path = '{history}/.git'", database="faulty")
    slow = site.folder / "bin/git"
    slow.parent.mkdir(exist_ok=True)
    slow.write_text(f'#!/bin/sh\nsleep 6\nexec {git} "$@"\n')
    slow.chmod(0o755)
    try:
        request = scm_pb2.GetCommitContextRequest(
            repository_id=1, commit_sha=head.stdout.strip(), filepath="a.txt", line_number=1
        )
        assert site.call("GetCommitContext", request) == {StatusCode.OK}
    finally:
        slow.unlink()
        site.postgresql.execute("UPDATE scm_repository SET mirror_path = ''", database="faulty")


FAULTS: dict[Callable[[Site], None], set[str]] = {
    nothing: set(),
    server_is_gone: {"ScmDown"},
    table_is_gone: {"ScmInternalErrors"},
    database_is_gone: {"ScmUnavailable", "ScmNoFigures"},
    redis_is_gone: {"ScmUnavailable"},
    table_is_locked: {"ScmDeadlines"},
    table_is_locked_for_seconds: {SLOW},
    threads_are_busy: {"ScmThreadsBusy"},
    rate_is_exceeded: {"ScmRefused"},
    tokens_are_wrong: {"ScmWrongCredentials"},
    no_worker_runs: {"ScmJobsLate"},
    job_fails: {"ScmJobsFailing"},
    tracker_fails: {"ScmOutboxStuck", "ScmProviderFails"},
    git_is_slow: {"ScmGitSlow", SLOW},
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.items(), ids=[fault.__name__ for fault in FAULTS])
def test_a_fault_triggers_its_alerts(
    fault: Callable[[Site], None], expected: set[str], site: Site, tmp_path: Path
) -> None:
    eventually(lambda: site.scrape().get('scm_jobs_due{instance="web",job="scm"}') is not None)
    # Of both processes: one may still not know that Redis is back.
    eventually(lambda: site.call("ListRepositories", LIST, 20) == {StatusCode.OK})
    site.under_fault.clear()
    before = site.scrape()
    fault(site)
    under = site.under_fault[0] if site.under_fault else site.scrape()
    found = firing(before, under, tmp_path)
    assert found >= expected
    # On a busy machine everything is slow.
    assert found <= expected | {SLOW}


def firing(before: Series, under: Series, folder: Path) -> set[str]:
    """The alerts that fire when the fault goes on: what was counted under it is counted every minute."""
    series = []
    for name, value in under.items():
        first = before.get(name, 0.0)
        is_counter = re.match(r"\w+_(total|count|sum|bucket)\{", name)
        values = f"{first:g}+{value - first:g}x{MINUTES}" if is_counter else f"{value:g}x{MINUTES}"
        series.append({"series": name, "values": values})
    return alerts(series, MINUTES - 1, folder)


def alerts(series: list[dict[str, str]], minute: int, folder: Path) -> set[str]:
    """The alerts that fire at a minute, with a value of each series every minute."""
    query = 'ALERTS{alertstate="firing"}'
    check = {"expr": f"count by (alertname) ({query})", "eval_time": f"{minute}m", "exp_samples": []}
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": [check]}]
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=PATIENCE)
    text = done.stdout + done.stderr
    assert done.returncode == 0 or "got:" in text, text
    # It expects none, and says which there are.
    return set(re.findall(r'alertname=\\?"(\w+)', text))


HANDLED = 'grpc_server_handled_total{job="scm",grpc_code="%s"}'
REQUESTS = 'scm_provider_request_seconds_count{job="scm",provider="github",outcome="%s"}'
IN_FLIGHT = 'grpc_server_in_flight{job="scm",instance="%s",server="%s"}'


@pytest.mark.parametrize(
    ("values", "minute", "expected"),
    [
        # One of few calls fails.
        ({HANDLED % "OK": "100+1x20", HANDLED % "Internal": "3x5 4x20", HANDLED % "Unavailable": "3x5 4x20"}, 9, set()),
        ({HANDLED % "OK": "100x20", HANDLED % "Internal": "3+1x20"}, 9, {"ScmInternalErrors"}),
        ({HANDLED % "OK": "100x20", HANDLED % "Unavailable": "3+1x20"}, 9, {"ScmUnavailable"}),
        ({REQUESTS % "200": "7x20", REQUESTS % "500": "3x1 4x20"}, 13, set()),
        ({REQUESTS % "200": "7x20", REQUESTS % "500": "3+1x20"}, 19, {"ScmProviderFails"}),
        # A restart is no fault.
        ({HANDLED % "OK": "10000+40x4 0+40x20", HANDLED % "Internal": "500x4 0x20"}, 9, set()),
        # Each server has threads of its own.
        ({IN_FLIGHT % ("a", "gunicorn"): "20x20", IN_FLIGHT % ("b", "gunicorn"): "20x20"}, 9, set()),
        ({IN_FLIGHT % ("a", "pyvoy"): "14x20"}, 9, {"ScmThreadsBusy"}),
        ({'up{job="scm",instance="a"}': "_x20"}, 9, {"ScmDown"}),
    ],
)
def test_how_little_is_a_fault(values: dict[str, str], minute: int, expected: set[str], tmp_path: Path) -> None:
    if not any(name.startswith("up") for name in values):
        values = {**values, 'up{job="scm",instance="a"}': "1x20", 'scm_jobs_due{job="scm",instance="a"}': "0x20"}
    series = [{"series": name, "values": text} for name, text in values.items()]
    assert alerts(series, minute, tmp_path) == expected


def test_every_server_is_watched() -> None:
    (watched,) = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {target for group in watched["static_configs"] for target in group["targets"]}
    served = re.findall(r"^server (127.0.0.1:\d+)", (DEPLOY / "nginx/grpc-servers.conf").read_text(), re.MULTILINE)
    web = re.findall(r"^ListenStream=(127.0.0.1:\d+)", (DEPLOY / "systemd/scm-web.socket").read_text(), re.MULTILINE)
    assert targets == {*served, *web}


def test_every_alert_has_a_fault() -> None:
    assert set().union(*FAULTS.values()) == ALERTS


def test_the_page_names_every_alert() -> None:
    listed = re.findall(r"^### (Scm\w+)", PAGES["operations"].read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(ALERTS)


def test_promtool_finds_no_fault_in_the_files() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(DEPLOY / "prometheus/prometheus.yml"))


def test_the_dashboard_has_metrics_that_there_are(site: Site) -> None:
    dashboard = json.loads((DEPLOY / "grafana/scm.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    used = {name for text in expressions for name in re.findall(r"\b((?:grpc_server|scm)_\w+)", text)}
    there = {name.partition("{")[0] for name in site.scrape()}
    # Those of git and of providers are there once there was a run.
    assert used - there <= {"scm_git_seconds_bucket", "scm_provider_request_seconds_count", "scm_cache_requests_total"}
    assert len(expressions) > 10
