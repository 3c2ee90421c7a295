"""Programs, run: the stack traces that they end with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["COMMANDS", "missing_command", "stack_traces"]

COMMANDS = {"python": (sys.executable,), "java": ("java", "javac"), "javascript": ("node",), "go": ("go",)}
"""Of the runtime of each language."""
PACKAGES = {"java": "default-jdk-headless", "javascript": "nodejs", "go": "golang-go"}
"""Of Debian."""
# They run for milliseconds.
_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss512k")


def missing_command(language: str) -> str | None:
    """Name what has to be installed to run programs of a language; None when everything is there."""
    missing = [command for command in COMMANDS[language] if shutil.which(command) is None]
    return f"{missing[0]} is not installed: apt install {PACKAGES[language]}" if missing else None


def stack_traces(language: str, git_dir: Path, sha: str, folder: Path, arguments: Iterable[str]) -> dict[str, str]:
    """Run a program as it is at a commit with each argument in turn, and return what it prints before it fails."""
    folder.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "GOCACHE", "JAVA_HOME"}},
        "GIT_INDEX_FILE": str(folder / ".index"),
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        # Of all goroutines it is one that fails.
        "GOTRACEBACK": "single",
    }

    def run(*command: str | Path, check: bool = True) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stderr

    run("git", f"--git-dir={git_dir}", "--work-tree=.", "checkout", "--force", sha, "--", ".")
    if language == "java":
        sources = [str(path) for path in folder.rglob("*.java")]
        run("javac", *(f"-J{option}" for option in _JAVA), "-proc:none", "-d", "classes", *sources)
    elif language == "go":
        run("go", "build", "-o", "shop", ".")
    command = {
        "python": [sys.executable, folder / "app.py"],
        "javascript": ["node", folder / "app.js"],
        "java": ["java", *_JAVA, "-cp", "classes", "com.acme.shop.App"],
        "go": [folder / "shop"],
    }[language]
    wanted = list(arguments)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(lambda one: run(*command, one, check=False), wanted), strict=True))
