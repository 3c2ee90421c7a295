"""One interpreter for all commands of a shell: it has imported what they need already, and forks for each.

``python -m tests.interpreter FOLDER`` makes the programs ``flask`` and ``scm-grpc`` in the folder, and runs their
commands until its standard input ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMPORTED = [
    "flask_grpcweb_scm.client",
    "flask_grpcweb_scm.console",
    "alembic.autogenerate",
    "dotenv",
    "logging.config",
    "tests.warm",
]
PROGRAM = """\
#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    call = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]
    socket.send_fds(connection, [json.dumps(call).encode() + b"\\n"], [0, 1, 2])
    # Nothing when it was killed.
    status = connection.recv(1) or bytes([255])
sys.exit(status[0])
"""
MAX_CALL_BYTES = 2**20


@contextlib.contextmanager
def commands() -> Iterator[str]:
    """Keep an interpreter while the block runs; gives a ``PATH`` with its programs first, then those of this Python."""
    # Not in a folder of pytest's: the address of a socket has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="interpreter-") as folder:
        arguments = [sys.executable, "-m", "tests.interpreter", folder]
        with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield os.pathsep.join([folder, str(Path(sys.executable).parent), os.environ["PATH"]])
            process.stdin.close()


def serve(folder: Path) -> None:
    programs = {entry.name: entry for entry in entry_points(group="console_scripts")}
    for module in IMPORTED:
        importlib.import_module(module)
    # flask does so before each of its commands.
    for entry in entry_points(group="flask.commands"):
        entry.load()
    address = folder / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        for name in ("flask", "scm-grpc"):
            program = folder / name
            program.write_text(PROGRAM.format(python=sys.executable, address=str(address)))
            program.chmod(0o755)
        print("ready", flush=True)  # noqa: T201
        # What there is now is not looked at again, nor copied for it.
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while server in select.select([server, 0], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                run(connection, programs)
            connection.close()


def run(connection: socket.socket, programs: dict[str, EntryPoint]) -> None:
    """Run one command in this process, and end it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    call, files, _, _ = socket.recv_fds(connection, MAX_CALL_BYTES, 3)
    while not call.endswith(b"\n"):
        call += connection.recv(MAX_CALL_BYTES)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    name, arguments, folder, environ = json.loads(call)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [name, *arguments]
    # Else click would take the module that this is for the program.
    sys.modules["__main__"].__package__ = None
    status = 1
    try:
        programs[name].load()()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(bytes([status]))
        os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
