"""The console's page of suspects in Chromium: the demo's bug in one paste, and nothing of it for another tenant."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import example_app
from flask_grpcweb_scm.scm import db
from tests.browser.browser import Scenarios
from tests.browser.build import missing_tools
from tests.servers import serving

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

CULPRIT = "A country without a rate is no longer free of taxes"
TOKENS = {"of-acme": {"organizations": ["acme"]}, "of-example": {"organizations": ["example"]}}
MARKUP = "<img src=x onerror=document.title=1>"
SCREENS = 2


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/scm.db")
    monkeypatch.setenv("FLASK_GRPC_CONSOLE", "true")
    monkeypatch.setenv("FLASK_GRPC_AUTH_TOKENS", json.dumps(TOKENS))
    app = example_app.create_app()
    run = app.test_cli_runner().invoke
    assert run(args=["scm", "demo", "--folder", str(tmp_path)]).exit_code == 0
    assert run(args=["scm", "rename", "repository", "acme", "acme/web", MARKUP]).exit_code == 0
    yield app
    with app.app_context():
        db.engine.dispose()


def ask(chromium: Scenarios, app: Flask, **given: Any) -> list[dict[str, Any]]:
    """What the page shows on each screen; see suspects.mjs."""
    with serving(app) as url:
        asked = {"url": f"{url}/_grpc/", "organization": "1", "project": "1", **given}
        answer = chromium.play("suspects", {**asked, "folder": os.environ.get("CONSOLE_PICTURES")})
    assert answer["violations"] == []
    shown: list[dict[str, Any]] = answer["results"]
    assert {(each["overflow"], each["elements"], *each["errors"]) for each in shown} == {(0, 0)}
    return shown


def test_the_planted_bug_is_found_in_one_paste_and_its_mapping_stored(
    chromium: Scenarios, app: Flask, tmp_path: Path
) -> None:
    trace = (tmp_path / "traceback.txt").read_text()
    screens = ask(chromium, app, token="of-acme", stacktrace=trace, store=True)
    assert len(screens) == SCREENS
    for shown in screens:
        assert (shown["suspects"][0], shown["authors"][0]) == (CULPRIT, "Ben Okafor")
        assert shown["links"][0].startswith("https://gitlab.acme.example/acme/shop/-/commit/85bc4bed26")
        assert shown["links"][1].startswith("https://gitlab.acme.example/acme/shop/-/blob/c60a0dc5f32d")
        assert shown["blamed"] == ["8    rate = RATES[country]\n"]
        assert shown["frames"] == ["found"] * 3 + ["skipped"] * 3 + ["found"] * 2
        assert shown["mappings"] == [["would be stored", "/srv/shop/", "(the top)", "acme/shop"]]
        assert shown["hint"] == f"Its repositories: {MARKUP}, acme/shop"
        assert shown["focus"] == "suspects-title"
    stored = screens[-1]["stored"]
    assert re.fullmatch(r"stored, id \d+", stored["mappings"][0][0])
    assert "The mapping is stored." in stored["text"]
    (again,) = ask(chromium, app, token="of-acme", stacktrace=trace, once=True)
    assert (again["frames"][0], again["mappings"][0]) == ("mapped", stored["mappings"][0])


@pytest.mark.parametrize("organization", ["1", "123"])
def test_another_tenant_sees_nothing_of_it(chromium: Scenarios, app: Flask, tmp_path: Path, organization: str) -> None:
    trace = (tmp_path / "traceback.txt").read_text()
    (shown,) = ask(chromium, app, token="of-example", organization=organization, stacktrace=trace, once=True)
    assert [wrong.partition(":")[0] for wrong in shown["wrong"]] == ["NOT_FOUND (5)"]
    assert (shown["suspects"], shown["mappings"], shown["frames"]) == ([], [], [])
    seen = shown["text"].replace(trace, "")
    assert not any(text in seen for text in (CULPRIT, "Okafor", "acme/shop", "85bc4bed"))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"stacktrace": "   "}, "Paste a stack trace first."),
        ({"stacktrace": "nothing of the kind"}, "INVALID_ARGUMENT (3): "),
        ({"stacktrace": "x", "organization": "99999999999999999999"}, "INVALID_ARGUMENT (3): "),
    ],
)
def test_what_is_wrong_is_said(chromium: Scenarios, app: Flask, given: dict[str, str], text: str) -> None:
    (shown,) = ask(chromium, app, token="of-acme", once=True, **given)
    assert [wrong.startswith(text) for wrong in shown["wrong"]] == [True]
