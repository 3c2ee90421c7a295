"""``mypy --strict`` on the scripts of users, whose mistakes are marked."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT

__all__ = ["assert_only_marked_errors"]

CACHE = ROOT / ".mypy_cache"


def assert_only_marked_errors(folder: Path, *files: str) -> None:
    """Run mypy in `folder`: in the files it finds what lines have after ``# error:``, and nothing else."""
    # Of an installed package mypy would not look at more than it does here; it cannot follow an editable one.
    options = ["--strict", "--config-file", str(ROOT / "setup.cfg"), "--cache-dir", str(CACHE)]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        # Of several test processes one looks at the package, and the others find that in the cache.
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *options, "--explicit-package-bases", *files],
            cwd=folder,
            env={**os.environ, "MYPYPATH": f"{folder}:{ROOT}"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    found = [
        (match[1], int(match[2]), match[3])
        for match in re.finditer(r"^(.+?):(\d+): error: .* \[([a-z-]+)\]$", done.stdout, re.MULTILINE)
        if match[1] in files
    ]
    expected = [
        (file, number, code)
        for file in files
        for number, line in enumerate((folder / file).read_text().splitlines(), 1)
        for code in line.partition("# error: ")[2].split()
    ]
    assert sorted(found) == sorted(expected), done.stdout + done.stderr
    assert "checked " in done.stdout or "no issues" in done.stdout, done.stdout + done.stderr
