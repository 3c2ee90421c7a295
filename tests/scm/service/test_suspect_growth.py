"""The work of FindSuspectCommits: statements do not grow with anything, git runs once for each file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm.scm import Repository, db
from tests.scm.queries.plans import statements_of
from tests.scm.support import GitRepository, Scm, Tenant, numbered

LINES = 5
"""Of each file, with a frame for each."""


@pytest.fixture
def call(app: Flask, scm: Scm, ours: Tenant, tmp_path: Any) -> Callable[[int, int], Callable[[], Any]]:
    """Make a call about so many repositories, with so many files of each; the repositories are there from the start."""
    frames: list[list[list[dict[str, Any]]]] = []
    with app.app_context():
        for number in range(6):
            git = GitRepository(tmp_path / f"repository{number}")
            names = [f"part{number}/module{number}_{place}.py" for place in range(3)]
            for change in range(3):
                for name in names:
                    git.write(name, numbered(0, change) + numbered(change, LINES, f"{name} {change}"))
                git.commit(f"{change}", name=f"Author {number} {change}", email=f"{number}.{change}@example.com")
            frames.append([[{"path": f"/srv/{name}", "line": line} for line in range(1, LINES + 1)] for name in names])
            path = str(git.path / ".git")
            row = Repository(organization_id=ours.organization, name=git.path.name, mirror_path=path)
            db.session.add(row)
        db.session.commit()

    def make(repositories: int, files: int) -> Callable[[], Any]:
        wanted = [frame for parts in frames[:repositories] for part in parts[:files] for frame in part]

        def run() -> Any:
            ids = {"organization_id": ours.organization, "project_id": ours.project}
            response = scm("FindSuspectCommits", **ids, frames=wanted, dry_run=True)
            assert [frame.code for frame in response.frames if frame.HasField("blame")] == [0] * len(wanted)
            return response

        return run

    return make


def test_statements_are_as_many_for_any_number_of_frames_files_and_repositories(
    app: Flask, call: Callable[[int, int], Callable[[], Any]]
) -> None:
    sizes = [(1, 1), (1, 3), (6, 3)]
    counts = [[len(statements_of(app, call(*size))) for size in sizes] for _ in range(2)]
    assert len({count for row in counts for count in row}) == 1, counts


def test_git_runs_once_for_a_file_and_not_again(
    call: Callable[[int, int], Callable[[], Any]], runs_of_git: Callable[[], int]
) -> None:
    def runs(*sizes: tuple[int, int]) -> Sequence[int]:
        counts = []
        for size in sizes:
            call(*size)()
            counts.append(runs_of_git())
        return counts

    call(6, 1)()
    runs_of_git()
    known, two, three = runs((6, 1), (6, 2), (6, 3))
    assert (two - known, three - known) == (6, 6)
    again, of_one = runs((6, 3), (1, 3))
    assert again == known
    assert known == 6 * of_one
