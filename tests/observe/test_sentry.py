"""Sentry reports the crash of an RPC as it reports that of a view."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.observe.mixed import CASES, HOOKED_CASES
from tests.servers import ROOT

pytestmark = pytest.mark.needs("time")

APPS = ["mixed_app", "hooked_app"]
Reports = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def all_reports() -> dict[str, Reports]:
    command = [sys.executable, "-m", "tests.observe.sentry", *APPS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Reports] = json.loads(done.stdout)
    return found


@pytest.fixture(params=APPS)
def reports(request: pytest.FixtureRequest, all_reports: dict[str, Reports]) -> Reports:
    return all_reports[request.param]


def parts(event: dict[str, Any]) -> object:
    """Everything that does not name the place."""
    (error,) = event["exception"]["values"]
    return (
        {key: error[key] for key in ("type", "value", "mechanism", "module")},
        event["level"],
        event["transaction_info"],
        "logger" in event,
        event["request"]["method"],
        sorted(event["request"]),
        sorted(event["contexts"]),
    )


@pytest.mark.parametrize("case", [case for case in CASES if "crash" in case.name], ids=lambda case: case.name)
def test_a_crash_is_reported_once_and_as_that_of_a_view(reports: Reports, case: Any) -> None:
    (view,), (event,) = reports["view"], reports[case.name]
    assert parts(event) == parts(view)
    (error,) = event["exception"]["values"]
    assert error["mechanism"] == {"type": "flask", "handled": False}
    assert error["stacktrace"]["frames"][-1]["function"] == "act"
    assert event["transaction"] == "grpcweb_scm." + case.path[1:].replace(".", "_")
    assert event["request"]["url"] == f"http://localhost{case.path}"


def test_what_is_no_crash_is_not_reported(reports: Reports) -> None:
    assert {name for name, events in reports.items() if events} == {
        "view",
        *(case.name for case in CASES + HOOKED_CASES if "crash" in case.name),
    }
