"""docs/javascript.md, followed in an empty folder as it is printed, from the wheel to pages in Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.build import HERE, MODULES, PROTOC_PYTHON, missing_tools, versions
from tests.documents import ROOT
from tests.servers import free_port, wait_until_listening
from tests.wheel import build_wheel, make_environment

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

PAGE = (ROOT / "docs" / "javascript.md").read_text()
SECONDS = 120
MARK = "@@@"
HOSTS = {"vite": "localhost:5173", "flask": "127.0.0.1:8000"}
COMMANDS = {"vite": "npx vite", "flask": "flask.* run --port 8000"}
NAME = re.compile(r"(?://|#|<!--) (\S+?)(, one more line)?(?: -->)?\n")
PACKAGE = re.compile(r"(@?[^\s@]+)@([\d.]+)")


def blocks(section: str) -> list[tuple[str, str]]:
    """The code blocks of a section, each with its language."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


class Terminal:
    """A shell, in which commands change the folder and the environment of those after them."""

    def __init__(self, folder: Path, log: Path) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.log = log
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, "PATH": path, "NO_COLOR": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Each job has a process group of its own.
        self.run("set -m")

    def run(self, command: str) -> str:
        """Run a command, which has to succeed, and return what it prints."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{command}\necho {MARK} $?\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            if line.startswith(MARK):
                assert line.split() == [MARK, "0"], f"{command}\n{printed}"
                return printed
            printed += line
        raise AssertionError(f"{command}\n{printed}")

    def close(self) -> None:
        self._shell.communicate("kill -- $(jobs -p | sed s/^/-/); wait\n", timeout=SECONDS)


class Reader:
    """Somebody who follows the page, with nothing but the wheel and the packages that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "hello"
        self.ports = {name: free_port() for name in HOSTS}
        self.terminals = {"flask": Terminal(folder, folder / "flask.log")}
        self.is_running = dict.fromkeys(HOSTS, False)

    def follow(self, section: str) -> None:
        """Write the files of a section, and run its commands."""
        for language, code in blocks(section):
            if language == "sh":
                self.run(code, "flask" if section == "A server" or "flask run" in code else "web")
            elif "// in the page" not in code:
                self.write(code)

    def write(self, code: str) -> None:
        match = NAME.match(code)
        assert match, code
        path = self.home / match[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"(?<=proxy: ).*", lambda proxy: self.local(proxy[0]), code[match.end() :])
        path.write_text(path.read_text() + text if match[2] else text)

    def local(self, text: str) -> str:
        """A text with the port of this run."""
        return text.replace("8000", str(self.ports["flask"]))

    def run(self, code: str, terminal: str) -> None:
        if terminal not in self.terminals:
            self.terminals[terminal] = Terminal(self.home, self.folder / f"{terminal}.log")
        for line in code.splitlines():
            (server,) = [name for name, command in COMMANDS.items() if re.fullmatch(command, line)] or [None]
            if server:
                self.serve(server, line)
            elif line.startswith("pip install"):
                self.pip_install(line)
            elif line.startswith("npm install"):
                self.npm_install(line)
            else:
                self.terminals[terminal].run(line)

    def serve(self, name: str, command: str) -> None:
        ...
