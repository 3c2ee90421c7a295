"""Histories with their programs, run at a commit, and FindSuspectCommits about what happens then."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from flask import Flask

from tests.scm.planted.frames import frames_of
from tests.scm.planted.history import Change, History, plant
from tests.scm.planted.program import KINDS, read_program
from tests.scm.planted.runtimes import stack_traces
from tests.scm.support import Scm, add_tenant, set_mirror

__all__ = ["Bugs"]


class Bugs:
    """All bugs of one history, in an app that knows its repository.

    :param released: run it, and tell so, as it was halfway between the last culprit and the newest commit.
    :param end: time of the newest commit, in seconds since the epoch.
    """

    def __init__(
        self, app: Flask, folder: Path, language: str, *, seed: int, moves: str, released: bool, end: int
    ) -> None:
        self.language, self.released, self._app, self._folder = language, released, app, folder / "run"
        self.history: History = plant(read_program(language), folder / "git", seed=seed, moves=moves, end=end)
        broken = [commit for commit in self.history.main() if set(KINDS) <= commit.events]
        self.running: Change = broken[len(broken) // 2 if released else 0]
        with app.app_context():
            self.tenant = add_tenant("shop")
        set_mirror(app, self.tenant.repository, self.history.git_dir)
        self.traces: dict[str, str] = stack_traces(
            language, self.history.git_dir, self.running.sha, self._folder, KINDS
        )

    def suspects(self, kind: str, *, as_text: bool = True, first_seen: int | None = None, **fields: Any) -> Any:
        """Return the response for a bug."""
        text = self.traces[kind]
        fields.update({"stacktrace": text} if as_text else {"frames": frames_of(self.language, text, self._folder)})
        if self.released:
            running = {"repository_id": self.tenant.repository, "commit_sha": self.running.sha}
            fields["release_commits"] = [running]
        if first_seen is not None:
            fields["first_seen"] = {"seconds": first_seen}
        ids = {"organization_id": self.tenant.organization, "project_id": self.tenant.project}
        return Scm(self._app)("FindSuspectCommits", **ids, **fields)

    def newest_change(self) -> str:
        """Return the newest commit in the file with the broken lines."""
        files = self.history.program.at(self.running.events)
        (path,) = [path for path in files if os.path.basename(path).lower().startswith("pricing.")]
        command = ["git", f"--git-dir={self.history.git_dir}", "log", "-1", "--format=%H", self.running.sha, "--", path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
