"""Traces and metrics have the git, the caches, the trackers and the outbox of ScmService."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from flask_grpcweb_scm.client import ScmStub
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.testing import channel_for
from tests.observe.sdk import exporter, tree
from tests.observe.test_prometheus import PATH, page
from tests.scm.databases import disposed
from tests.scm.support import GitRepository, make_app
from tests.scm.trackers import github_server as faults
from tests.scm.trackers.github_server import GitHubServer
from tests.scm.trackers.tracking import SECRET, create, github, tracked

__all__ = ["exporter", "github"]  # fixtures


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    config = {"GRPC_SCM_CREDENTIALS": {"bot": SECRET}, "GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1"}
    with disposed(make_app(database, GRPC_OTEL=True, GRPC_METRICS_PATH=PATH, **config)) as app:
        yield app


def test_git_is_inside_of_the_call_and_caches_are_counted(
    app: Flask, mirrored: int, history: GitRepository, exporter: InMemorySpanExporter
) -> None:
    before = page(app)
    sha, path = history.head(), history.git("ls-files").splitlines()[0]
    request = scm_pb2.GetCommitContextRequest(repository_id=mirrored, commit_sha=sha, filepath=path, line_number=1)
    with channel_for(app) as channel:
        for _ in range(2):
            ScmStub(channel).get_commit_context(request)
    after = page(app)
    calls = [span for span in exporter.get_finished_spans() if span.parent is None]
    assert [span.name for span in calls] == ["sentry.integrations.scm.v1.ScmService/GetCommitContext"] * 2
    first, second = (tree(exporter.get_finished_spans(), span.context.span_id) for span in calls if span.context)
    # The second call needs none.
    assert ("INTERNAL git blame" in first, second) == (True, {})
    runs = [span.name for span in exporter.get_finished_spans() if span.name.startswith("git ")]
    assert len(runs) == sum(after[key] - before[key] for key in after if key[0] == "scm_git_seconds_count")
    hits = {key[2]: after[key] - before[key] for key in after if key[:2] == ("scm_cache_requests_total", "lines")}
    assert hits == {"hit": 1, "miss": 1}


def test_requests_to_a_tracker_and_what_they_leave(
    app: Flask, github: GitHubServer, exporter: InMemorySpanExporter
) -> None:
    tenant = tracked(app, "ours", github.url)
    github.faults = [faults.status_before("500 No")]
    assert create(app, tenant).code == 14
    (server, *others) = exporter.get_finished_spans()[::-1]
    requests = [span for span in others if span.name == "POST"]
    assert [(span.attributes or {})["http.response.status_code"] for span in requests] == [500]
    assert {span.status.status_code for span in requests} == {StatusCode.ERROR}
    assert server.context is not None
    assert {span.parent.span_id for span in requests if span.parent} == {server.context.span_id}
    assert SECRET not in repr([(span.name, dict(span.attributes or {})) for span in others])
    samples = page(app)
    assert samples[("scm_outbox_operations",)] == 1
    assert samples[("scm_outbox_oldest_age_seconds",)] > 0
