"""Metrics for Prometheus: they are what clients counted, in one process, in several, and in a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort, request
from prometheus_client.parser import text_string_to_metric_families

from flask_grpcweb_scm import ConfigError, GrpcWebScm, StatusCode
from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.scm import db
from tests.apps import echo_app, echo_service, know_routes
from tests.observe.mixed import CASES, HOOKED_CASES, Case, hooked_app, in_process, mixed_app, over_http
from tests.servers import ROOT, free_port, gunicorn, listening

PATH = "/metrics"
TYPES = {
    "Unary": "unary",
    "Missing": "unary",
    "ServerStream": "server_stream",
    "ClientStream": "client_stream",
    "Bidi": "bidi_stream",
}
PROMETHEUS = shutil.which("prometheus")

Samples = Counter[tuple[str, ...]]


def labels(case: Case) -> tuple[str, str, str]:
    if not case.label:
        return ("unknown", "unknown", "unknown")
    service, method = case.label[1:].split("/")
    return (TYPES[method], service, method)


def spelt(code: StatusCode) -> str:
    """As Go spells it."""
    special = {StatusCode.OK: "OK", StatusCode.CANCELLED: "Canceled"}
    return special.get(code, "".join(word.title() for word in code.name.split("_")))


def read_metrics(text: str) -> Samples:
    """The values of a page by name and labels; the type first, then service, method and code."""
    found: Samples = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            order = ("grpc_type", "grpc_service", "grpc_method", "grpc_code", "command", "cache", "result", "le")
            found[(sample.name, *(sample.labels[name] for name in order if name in sample.labels))] = sample.value  # type: ignore[assignment]
    return found


def expected(cases: list[Case]) -> Samples:
    found: Samples = Counter()
    for case in cases:
        found[("grpc_server_started_total", *labels(case))] += 1
        found[("grpc_server_handled_total", *labels(case), spelt(case.code))] += 1
        found[("grpc_server_handling_seconds_count", *labels(case))] += 1
    return found


def page(app: Flask) -> Samples:
    return read_metrics(app.test_client().get(PATH).text)


def grown(before: Samples, after: Samples, names: Samples) -> Samples:
    """Counters of the process are there already when a test begins."""
    known = {key[0] for key in names}
    return Counter({key: after[key] - before[key] for key in after if key[0] in known and after[key] != before[key]})


@pytest.mark.parametrize("is_known", [False, True])
def test_calls_are_counted_by_method_and_code(is_known: bool) -> None:
    for make, cases in ((mixed_app, CASES), (hooked_app, CASES + HOOKED_CASES)):
        app = make(GRPC_METRICS_PATH=PATH)
        if is_known:
            know_routes(app)
        before = page(app)
        for case in cases:
            in_process(app, case)
        after = page(app)
        assert grown(before, after, expected(cases)) == expected(cases)
        assert {key: value for key, value in after.items() if "in_flight" in key[0] and value} == {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_messages_are_counted(case: Case) -> None:
    app = mixed_app(GRPC_METRICS_PATH=PATH)
    if case.name == "over the rate":
        in_process(app, case)
    before = page(app)
    in_process(app, case)
    after = page(app)
    keys = [(f"grpc_server_msg_{what}_total", *labels(case)) for what in ("received", "sent")]
    received, sent = (after[key] - before[key] for key in keys)
    assert received == case.messages[0]
    assert sent == case.messages[1] or (case.pieces is not None and sent >= case.messages[1])


def test_open_streams_are_in_flight() -> None:
    app = mixed_app(GRPC_METRICS_PATH=PATH)
    (case,) = [case for case in CASES if case.name == "stream, client goes"]
    response = app.test_client().post(case.path, data=case.body, headers=case.headers, buffered=False)
    key = ("grpc_server_in_flight", *labels(case))
    assert page(app)[key] == 1
    response.close()
    assert page(app)[key] == 0


def test_hooks_of_the_app_guard_the_page_as_any_other() -> None:
    app = mixed_app(GRPC_METRICS_PATH=PATH)
    app.before_request(lambda: abort(401) if request.authorization is None else None)
    client = app.test_client()
    assert client.get(PATH).status_code == 401
    assert client.get(PATH, auth=("prometheus", "p")).status_code == 200
    exempt = mixed_app(GRPC_METRICS_PATH=PATH)
    exempt.before_request(lambda: None if request.endpoint == "grpcweb_scm_metrics" else abort(401))
    assert exempt.test_client().get(PATH).status_code == 200


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_page_of_the_app_at_the_same_path_wins(order: str) -> None:
    def add(app: Flask) -> None:
        app.add_url_rule(PATH, "hook", lambda: "of a hook", methods=["POST"])
        app.add_url_rule(PATH, "own", lambda name: f"own {name}", defaults={"name": "page"})

    app = echo_app(GRPC_METRICS_PATH=PATH, prepare=add if order == "before" else None)
    if order == "after":
        add(app)
    assert app.test_client().get(PATH).text == "own page"
    assert app.test_client().post(PATH).text == "of a hook"


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({"host_matching": True, "static_host": "www.example.test"}, {"GRPC_HOST": "api.example.test"}),
        ({"subdomain_matching": True}, {"GRPC_SUBDOMAIN": "api", "SERVER_NAME": "example.test"}),
    ],
    ids=["host", "subdomain"],
)
def test_the_page_is_where_the_rpcs_are(options: dict[str, Any], config: dict[str, Any]) -> None:
    app = Flask(__name__, **options)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_METRICS_PATH=PATH, **config)
    GrpcWebScm(services=[echo_service()]).init_app(app)
    client = app.test_client()
    found = [client.get(PATH, base_url=f"http://{name}.example.test").status_code for name in ("api", "www")]
    assert found == [200, 404]
    assert [line for line in findings(app, app.extensions["grpcweb_scm"].settings, {}) if "GRPC_METRICS_PATH" in line]


def test_without_its_key_there_is_no_page_and_with_a_wrong_one_no_app() -> None:
    assert echo_app().test_client().get(PATH).status_code == 404
    with pytest.raises(ConfigError, match=r"GRPC_METRICS_PATH: 'metrics' is not None or a path"):
        echo_app(GRPC_METRICS_PATH="metrics")


@pytest.mark.needs("time")
def test_without_its_package_the_error_says_what_to_install() -> None:
    code = """
import sys; sys.modules["prometheus_client"] = None
from flask import Flask
from flask_grpcweb_scm import ConfigError, GrpcWebScm
app = Flask("a")
app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False)
GrpcWebScm(app)
assert not any(name.startswith(("prometheus", "opentelemetry")) for name in sys.modules if sys.modules[name])
app = Flask("b")
app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_METRICS_PATH="/metrics")
try: GrpcWebScm(app)
except ConfigError as error: print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "GRPC_METRICS_PATH needs prometheus_client: pip install 'flask_grpcweb_scm[prometheus]'\n"


# Several processes, and a real server


@pytest.fixture(scope="module", params=["", "HOOKS"], ids=["fast lane", "hooks"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, list[Case]]]:
    """The port of gunicorn with two processes, which have answered the cases."""
    folder = tmp_path_factory.mktemp("gunicorn")
    environ = {"FLASK_GRPC_METRICS_PATH": PATH, "PROMETHEUS_MULTIPROC_DIR": str(folder / "multi")}
    (folder / "multi").mkdir()
    if request.param:
        environ["HOOKS"] = "1"
    cases = CASES + (HOOKED_CASES if request.param else [])
    # Rates are counted by each process for itself.
    cases = [case for case in cases if "Missing" not in case.path] * 3
    options = ["--workers", "2", "--worker-class", "gthread", "--threads", "4"]
    with gunicorn("tests.observe.mixed:create_app", folder / "log", *options, environ=environ) as port:
        for case in cases:
            assert (case.name, over_http(port, case)) == (case.name, case.code)
        yield port, cases


@pytest.mark.needs("server")
def test_processes_are_counted_together(served: tuple[int, list[Case]]) -> None:
    port, cases = served
    found: Samples = eventually(lambda: select(read_metrics(get(f"http://127.0.0.1:{port}{PATH}")), cases), cases)
    assert found == expected(cases)


@pytest.mark.needs("Prometheus")
def test_a_prometheus_server_has_what_the_client_counted(served: tuple[int, list[Case]], tmp_path: Path) -> None:
    if PROMETHEUS is None:
        if "CI" in os.environ:
            pytest.fail("prometheus is not installed")
        pytest.skip("prometheus is not installed: apt install prometheus")
    port, cases = served
    config, own = tmp_path / "prometheus.yml", free_port()
    target = {"targets": [f"127.0.0.1:{port}"]}
    scrape = {"job_name": "app", "scrape_interval": "200ms", "static_configs": [target]}
    config.write_text(json.dumps({"scrape_configs": [scrape]}))  # YAML too
    data, address = f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{own}"
    with listening([PROMETHEUS, f"--config.file={config}", data, address], own, tmp_path / "prometheus.log"):
        found = eventually(lambda: query(own, cases), cases)
        assert found == expected(cases)
        (up,) = ask(own, "up")
        assert up["value"][1] == "1"


def select(samples: Samples, cases: list[Case]) -> Samples:
    names = {key[0] for key in expected(cases)}
    return Counter({key: value for key, value in samples.items() if key[0] in names and value})


def eventually(look: Callable[[], Samples], cases: list[Case]) -> Samples:
    """Streams that their client leaves end when the server notices; servers are asked again and again."""
    stop = time.monotonic() + 30
    while (found := look()) != expected(cases) and time.monotonic() < stop:
        time.sleep(0.2)
    return found


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        return str(response.read().decode())


def ask(port: int, question: str) -> list[dict[str, Any]]:
    try:
        answer = json.loads(get(f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(question)}"))
    except urllib.error.HTTPError as error:
        assert error.code == 503, "it listens before it is ready"
        return []
    assert answer["status"] == "success"
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def query(port: int, cases: list[Case]) -> Samples:
    found: Samples = Counter()
    for name in {key[0] for key in expected(cases)}:
        for row in ask(port, name):
            order = ("grpc_type", "grpc_service", "grpc_method", "grpc_code")
            key = (name, *(row["metric"][label] for label in order if label in row["metric"]))
            found[key] = int(float(row["value"][1]))
    return found


# ScmService


def test_figures_of_scm(empty_database: str) -> None:
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=empty_database, GRPC_METRICS_PATH=PATH, GRPC_REQUIRE_AUTH=False)
    GrpcWebScm(app)
    assert "scm_outbox" not in app.test_client().get(PATH).text
    with app.app_context():
        db.create_all()
    samples = page(app)
    assert (samples[("scm_outbox_operations",)], samples[("scm_outbox_oldest_age_seconds",)]) == (0, 0)
    assert {name: samples[(f"scm_jobs_{name}",)] for name in ("due", "failing", "running", "oldest_due_seconds")} == {
        "due": 0, "failing": 0, "running": 0, "oldest_due_seconds": 0,
    }  # fmt: skip
    text = app.test_client().get(PATH, headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert text.content_type.startswith("application/openmetrics-text")
    assert re.search(r"# EOF\n\Z", text.text)
    with app.app_context():
        db.engine.dispose()
