"""FindSuspectCommits names the commit that broke a line, whatever came after it, in real programs that are run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.planted.bugs import Bugs
from tests.scm.planted.runtimes import missing_command
from tests.scm.support import make_app

LONG_AGO = 1_700_000_000
# Language, seed, moves; whether a release before the newest commits runs; days since the newest commit, None is years.
HISTORIES = [
    ("python", 1, "both", False, 1),
    ("python", 2, "file", True, None),
    ("python", 3, "lines", False, 40),
    ("javascript", 4, "lines", True, 1),
    ("javascript", 5, "file", False, None),
    ("javascript", 6, "both", True, 40),
    ("java", 7, "both", True, None),
    ("java", 8, "lines", False, 1),
    ("go", 9, "both", True, None),
    ("go", 10, "lines", False, 1),
]
# What fails in a line that another one calls: which of them is to blame is not to be seen but by when it began.
NEEDS_FIRST_SEEN = {"helper", "overflow"}


@pytest.fixture
def app(sqlite_databases: SqliteDatabases) -> Iterator[Flask]:
    uri = sqlite_databases.create()
    with disposed(make_app(uri)) as app:
        yield app
    sqlite_databases.drop(uri)


@pytest.mark.parametrize(
    ("language", "seed", "moves", "released", "days"),
    [pytest.param(*row, marks=[] if row[0] == "python" else pytest.mark.needs(row[0])) for row in HISTORIES],
)
@pytest.mark.needs("time")
def test_the_culprit_is_the_first_suspect(
    app: Flask, tmp_path: Path, language: str, seed: int, moves: str, released: bool, days: int | None
) -> None:
    missing = missing_command(language)
    if missing:
        pytest.fail(missing) if "CI" in os.environ else pytest.skip(missing)
    end = LONG_AGO if days is None else int(time.time()) - days * 86400
    bugs = Bugs(app, tmp_path, language, seed=seed, moves=moves, released=released, end=end)
    history = bugs.history
    assert len(history.commits) >= 50
    assert len({commit.author for commit in history.commits}) >= 5
    newest = bugs.newest_change()
    wrong = []
    for kind in bugs.traces:
        culprit = history.of(kind)
        assert culprit.sha not in {history.commits[-1].sha, newest}
        for as_text in (True, False):
            for seen in (culprit.seconds + 7200, None):
                if seen is None and kind in NEEDS_FIRST_SEEN:
                    continue
                found = bugs.suspects(kind, as_text=as_text, first_seen=seen).suspects
                if [one.commit_id for one in found[:1]] != [culprit.sha]:
                    named = [(history.named(one.commit_id), [*one.frames], one.score) for one in found]
                    wrong.append((kind, as_text, seen, named))
                    continue
                facts = found[0].author.name, found[0].author.email, found[0].date.seconds, found[0].repository_id
                assert facts == (*culprit.author, culprit.seconds, bugs.tenant.repository)
    assert wrong == []
