"""docs/javascript.md, followed in an empty folder as it is printed, from the wheel to pages in Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Scenarios, running_scenarios
from tests.browser.build import HERE, MODULES, PROTOC_PYTHON, missing_tools
from tests.documents import PAGES, all_blocks, blocks
from tests.servers import free_port
from tests.wheel import build_wheel, make_environment

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

PAGE = PAGES["javascript"]
BLOCKS = [
    *blocks(PAGE, "sh"),
    *blocks(PAGE, "proto"),
    *blocks(PAGE, "python"),
    *blocks(PAGE, "yaml"),
    *blocks(PAGE, "json5"),
    *blocks(PAGE, "html"),
    *blocks(PAGE, "js"),
    *blocks(PAGE, "ts"),
    *blocks(PAGE, "tsx"),
]
SECONDS = 300
LIFETIME = 1800
MARK = "@@@"
NAME = re.compile(r"(?://|#|<!--) (\S+?)(, one more line)?(?: -->)?\n")
PACKAGE = re.compile(r"(@?[^\s@]+)@([\d.]+)")
HOSTS = {"vite": "localhost:5173", "flask": "127.0.0.1:8000"}
"""Where the servers listen, on the page."""
PROGRAM = re.compile(r"npx (\w+)")
SERVERS = {"vite": re.compile("npx vite"), "flask": re.compile("flask (.* )?run --port 8000")}
IN_THE_PAGE = "// in the page\n"


class Terminal:
    """A shell: commands change the folder and the environment of those after them."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, "PATH": path, "NO_COLOR": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Each background job has a process group of its own.
        self.run("set -m")

    def run(self, command: str) -> str:
        """Run a command, which has to succeed, and return what it prints."""
        assert self._shell.stdin
        assert self._shell.stdout
        timer = threading.Timer(SECONDS, self._shell.kill)
        timer.start()
        self._shell.stdin.write(f"{command}\necho {MARK} $?\n")
        self._shell.stdin.flush()
        printed = status = ""
        for line in self._shell.stdout:
            if line.startswith(MARK):
                status = line
                break
            printed += line
        timer.cancel()
        assert status == f"{MARK} 0\n", f"$ {command}\n{printed}{status or 'It took too long.'}"
        return printed

    def start(self, command: str, log: Path) -> str:
        """Start a command that goes on running, and return its process group."""
        return self.run(f"timeout {LIFETIME} {command} > {log} 2>&1 < /dev/null & echo $!").strip()

    def end(self, group: str) -> None:
        self.run(f"kill -- -{group}; wait {group}; true")

    def close(self) -> None:
        self._shell.communicate(timeout=SECONDS)


class Reader:
    """Somebody who follows the page, with nothing but the wheel and the packages that it names."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.followed: list[str] = []
        """The code blocks."""
        self._folder = folder
        self._wheel = wheel
        self._home = folder / "hello"
        self._ports = {name: free_port() for name in HOSTS}
        self._addresses: dict[str, str] = {}
        self._running = contextlib.ExitStack()
        self._browser: Scenarios | None = None
        self._groups: dict[str, str] = {}
        self._terminals: dict[str, Terminal] = {}
        self._programs: set[str] = set()
        """Those that npx has found."""

    def follow(self, title: str) -> None:
        """Write the files of a section, and run its commands."""
        for block in [each for each in all_blocks(PAGE) if each.section == title]:
            self.followed.append(block.text)
            if block.language == "sh":
                self._run(block.text, "flask" if title == "A server" else "vite")
            elif not block.text.startswith(IN_THE_PAGE):
                self._write(block.text)

    def visit(self, server: str, *steps: tuple[str, ...]) -> str:
        """Take steps on a page, as steps.mjs has them, and return its text in the end."""
        self._browser = self._browser or self._open_browser()
        given = {"url": f"http://{HOSTS[server]}/", "steps": steps}
        try:
            text: str = self._browser.play("steps", given)
        except AssertionError as error:
            raise AssertionError(f"{error}" + "".join(map(self.log, HOSTS))) from None
        return text

    def _open_browser(self) -> Scenarios:
        hosts = [f"{HOSTS[name]}={address}" for name, address in self._addresses.items()]
        return self._running.enter_context(running_scenarios(self._folder, *hosts))

    def log(self, server: str) -> str:
        return (self._folder / f"{server}.log").read_text()

    def end(self, server: str) -> None:
        self._terminals[server].end(self._groups.pop(server))

    def close(self) -> None:
        self._running.close()
        for server in [*self._groups]:
            self.end(server)
        for terminal in self._terminals.values():
            terminal.close()

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file, which has it once."""
        before, after = (self._home / name).read_text().split(old)
        (self._home / name).write_text(before + new + after)

    def copy(self, folder: Path, name: str) -> None:
        shutil.copytree(folder, self._home / name)

    def shell(self, command: str, name: str = "vite") -> None:
        """Run a command in a terminal. To find a program again takes npx longer than many a program takes."""
        program = PROGRAM.match(command)
        if program and program[1] in self._programs:
            command = command.replace("npx", 'PATH="$PWD/node_modules/.bin:$PATH"', 1)
        elif program:
            self._programs.add(program[1])
        self._terminals[name].run(command)

    def _write(self, code: str) -> None:
        match = NAME.match(code)
        assert match, code
        path = self._home / match[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"(?<=proxy: ).*", lambda proxy: self._local(proxy[0]), code[match.end() :])
        path.write_text(path.read_text() + text if match[2] else text)

    def _local(self, text: str) -> str:
        """A text with the port of this run."""
        return text.replace("8000", str(self._ports["flask"]))

    def _run(self, code: str, name: str) -> None:
        if any(SERVERS["flask"].fullmatch(line) for line in code.splitlines()):
            name = "flask"
        if name not in self._terminals:
            self._terminals[name] = Terminal(self._home if self._home.exists() else self._folder)
        for line in code.splitlines():
            if SERVERS[name].fullmatch(line):
                self._serve(name, line)
            elif line.startswith("pip install"):
                self._pip_install(line)
            elif line.startswith("npm install"):
                self._npm_install(line)
            else:
                # Packages are installed from outside of it.
                self.shell(line.replace("-m venv", "-m venv --without-pip"), name)

    def _serve(self, name: str, command: str) -> None:
        port = self._ports[name]
        if name in self._groups:
            self.end(name)
        local = f"{command} --port {port} --strictPort" if name == "vite" else self._local(command)
        self._groups[name] = self._terminals[name].start(local, self._folder / f"{name}.log")
        stop = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOSTS[name].partition(":")[0], port)) as peer:
                address = peer.getpeername()[0]
                self._addresses[name] = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                return
            assert time.monotonic() < stop, self.log(name)
            time.sleep(0.05)

    def _pip_install(self, line: str) -> None:
        """Install the wheel; what else a line names is borrowed."""
        if not (self._home / ".venv" / "bin" / "flask").exists():
            assert line == "pip install flask_grpcweb_scm grpcio-tools"
            make_environment(self._home / ".venv", self._wheel, [PROTOC_PYTHON])

    def _npm_install(self, line: str) -> None:
        """Link the packages that a line names, and nothing else, so that what it forgets is not there."""
        modules = self._home / "web" / "node_modules"
        for name, version in PACKAGE.findall(line):
            package = json.loads((MODULES / name / "package.json").read_text())
            assert package["version"] == version, line
            (modules / name).parent.mkdir(parents=True, exist_ok=True)
            (modules / name).symlink_to(MODULES / name)
            (modules / ".bin").mkdir(exist_ok=True)
            for program in package.get("bin", {}):
                (modules / ".bin" / program).symlink_to(MODULES / ".bin" / program)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def reader(tmp_path: Path, wheel: Path) -> Iterator[Reader]:
    with contextlib.closing(Reader(tmp_path, wheel)) as reader:
        yield reader


def symptom(text: str) -> tuple[str, str]:
    """The step of seeing what the page has in its table of what does not work."""
    (found,) = [code for _, code in re.findall(r"^\| (`([^`]+)`)", PAGE.read_text(), re.MULTILINE) if code == text]
    return "see", found


def test_the_page_is_followed(reader: Reader) -> None:
    reader.follow("A server")
    reader.follow("Its messages in TypeScript")
    reader.follow("A page")
    reader.visit("vite", ("see", "Hello Ann"))

    reader.follow("Errors with details")
    say, empty = ("click", "Say hello"), ("see", "name is empty")
    reader.visit("vite", say, empty, ("fill", "Name", "Bob"), say, ("see", "Hello Bob"))

    reader.follow("Streams")
    reader.visit("vite", ("click", "Count"), ("see", "1 2 3 4 5 done"))
    reader.change("web/src/count.ts", "limit: 5", "limit: 5000")
    stopped = reader.visit("vite", ("click", "Count"), ("see", "1 2"), ("click", "Stop"), say, empty)
    reader.change("web/src/count.ts", "limit: 5000", "limit: 5")
    assert "done" not in stopped
    assert "Canceled" not in stopped

    reader.follow("Tokens")
    (in_the_page,) = [code for code in BLOCKS if code.startswith(IN_THE_PAGE)]
    unauthenticated = ("see", "Unauthenticated: authentication required: send X-Grpc-Auth-Token")
    give_token = ("run", in_the_page)
    reader.visit("vite", say, unauthenticated, give_token, say, empty)

    reader.follow("React")
    hello, say_to_all = ("see", "Hello Ann"), ("click", "Say it to all")
    fill, cleared = ("fill", "Name", "Bob"), ("fill", "Name", "")
    greeted = (hello, fill, ("see", "Hello Bob"), cleared, empty, say_to_all, ("see", "Hello world"))
    reader.visit("vite", unauthenticated, give_token, ("reload",), *greeted)

    reader.end("flask")
    reader.visit("vite", symptom("Unavailable: HTTP 502"))
    reader.change("web/vite.config.js", "/greeter.v1.Greeter/", "/greeter.v1.Other/")
    reader.visit("vite", symptom("Unimplemented: HTTP 404"))

    reader.follow("Which origin")
    reader.visit("vite", *greeted)
    assert '"OPTIONS /greeter.v1.Greeter/SayHello HTTP/1.1" 204' in reader.log("flask")
    reader.end("flask")
    reader.visit("vite", symptom("Unknown: Failed to fetch"))
    reader.change("web/vite.config.js", "/greeter.v1.Other/", "/greeter.v1.Greeter/")

    reader.follow("In production")
    reader.visit("flask", *greeted)
    assert "GET /greeter.v1.Greeter/SayHello?connect=v1" in reader.log("flask")

    reader.follow("gRPC-Web")
    reader.visit("vite", *greeted)

    reader.follow("From proto files")

    reader.copy(HERE / "generated", "web/src/generated")
    reader.follow("The package grpc-web")
    reader.shell("npx tsc")

    assert sorted(reader.followed) == sorted(BLOCKS)
