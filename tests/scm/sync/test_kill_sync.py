"""kill -9 during the sync of an organization: it goes on where it was, and ends equal to git."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scm.sync.killed import sync_and_kill

pytestmark = pytest.mark.needs("processes that are killed")


def test_a_sync_that_is_killed_ends_equal_to_git(database: str, tmp_path: Path) -> None:
    outcome = sync_and_kill(database, tmp_path, repositories=12, commits=1000, kills=5, seconds=2)
    assert outcome.commits >= 900
