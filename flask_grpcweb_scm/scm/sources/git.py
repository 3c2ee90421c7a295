"""``git`` as a subprocess.

Neither a hostile repository nor a hostile argument makes it run or write anything, and memory is bounded whatever the
repository has.
"""

from __future__ import annotations

import logging
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import IO

from flask_grpcweb_scm.observe import observed_work

if sys.platform != "win32":
    import fcntl
    import resource

__all__ = [
    "MEMORY_BYTES",
    "GitError",
    "GitFailed",
    "GitOutOfMemory",
    "GitTimeout",
    "find_git",
    "run_git",
]

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**10
MEMORY_BYTES = 2**30
"""Default of the address space of git, which of a repository as large as Linux has 0.6 GiB in use."""
PIPE_BYTES = 2**20  # how far git may run ahead while its output is made use of: the most that Linux allows
TICK_SECONDS = 0.2  # from one call of what watches git to the next
MAX_ERROR_BYTES = 2 * 2**10
MAX_ERROR_FILE_BYTES = 64 * 2**10

# Nothing from outside and nothing of the user's: only the repository's own configuration is left, and what that could
# use to run or to fetch something is switched off. GIT_ALLOW_PROTOCOL beats any `protocol.<name>.allow` in it, and
# keeps a git before 2.45, which has no GIT_NO_LAZY_FETCH, from fetching the missing objects of a partial clone.
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": os.devnull,  # as --no-replace-objects: a commit is what it was when it was made
    "GIT_FLUSH": "0",  # else `git log` writes commit by commit into a pipe
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "HOME": os.path.join(os.sep, "nonexistent"),  # without any, git gives up on a configured "~/…"
}
NO_VARIABLES: Mapping[str, str] = {}
OPTIONS = (
    *("-c", "advice.graftFileDeprecated=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "protocol.allow=never"),
    *("-c", "log.showSignature=false"),  # would run gpg.program
    *("-c", "log.showRoot=true"),
    # Files that are mapped in small pieces leave the memory to what git makes of them.
    *("-c", "core.packedGitWindowSize=16m"),
    *("-c", "core.packedGitLimit=64m"),
    *("-c", "core.bigFileThreshold=16m"),
    # What git blame makes of a commit is the same in every repository.
    *("-c", "blame.showRoot=false"),
    *("-c", "core.quotePath=false"),
    *("-c", "diff.algorithm=default"),
    *("-c", "diff.indentHeuristic=true"),
    # It would let a file of the repository give a commit to somebody else.
    *("-c", "mailmap.file="),
    *("-c", "mailmap.blob="),
    "--no-replace-objects",
    "--literal-pathspecs",
)

MISSING_OBJECT = ": the partial clone has not all files; run in it: git fetch --refetch --no-filter"


class GitError(Exception):
    """Raised when a repository cannot be read; the text names no path of this machine."""


class GitTimeout(GitError):
    """Raised when git was killed at the deadline."""

    def __init__(self, command: str) -> None:
        super().__init__(f"git {command} did not end in time")
        self.command = command


class GitOutOfMemory(GitError):
    """Raised when git would have needed more memory than it may have."""

    def __init__(self, command: str, limit: int) -> None:
        text = f"git {command} needs more than the {limit / 2**20:g} MiB of memory that it may have; the server can"
        super().__init__(f"{text} allow it more by GRPC_GIT_MEMORY_BYTES")


class GitFailed(GitError):
    """Raised when git ended with an error, or with more output than is read."""

    def __init__(self, command: str, status: int, errors: str) -> None:
        missing = MISSING_OBJECT if "from promisor remote" in errors else ""
        super().__init__(f"git {command} failed with exit status {status}{missing}")
        self.command = command
        self.status = status
        self.errors = errors
        """Standard error of git: may name paths of this machine."""


def run_git(
    git_dir: str,
    *arguments: str,
    deadline: float | None,
    stdin: bytes = b"",
    memory: int | None = MEMORY_BYTES,
    folder: str = "",
    variables: Mapping[str, str] = NO_VARIABLES,
    file_bytes: int | None = None,
    meanwhile: Callable[[], object] | None = None,
    pass_fds: Sequence[int] = (),
    redact: Callable[[str], str] = str,
) -> Generator[bytes, None, str]:
    """Yield the standard output of a git command in chunks; closing the generator kills git.

    The first chunk is empty: it comes as soon as git has started.

    Returns the start of its standard error, which may name paths of this machine.

    On Linux the end of this process kills git too, whatever ends it, and its memory has a limit.

    :param deadline: an instant of :func:`time.monotonic`; None for none.
    :param memory: bytes of address space; None for any number.
    :param folder: where git is started; by default in the working tree.
    :param variables: more of its environment.
    :param file_bytes: that a file may have which git writes (Linux); None for any number. With it the limits hold from
        the beginning, also in what git starts at once, by a shell that sets them.
    :param meanwhile: is called again and again while git works; what it raises ends git.
    :param pass_fds: descriptors that git, and what it starts, keep open until they end.
    :param redact: removes secrets from what git says, should a remote repeat them.
    :raises GitTimeout: at the deadline.
    :raises GitOutOfMemory: at the limit of its memory.
    :raises GitFailed: when git does.
    :raises GitError: when this machine has no git.
    """
    command = arguments[0]
    if deadline is not None and deadline <= time.monotonic():
        raise GitTimeout(command)
    with (
        observed_work("git", command),
        _nameless_file() as given,
        _nameless_file(MAX_ERROR_FILE_BYTES) as errors,
        _Leash() as leash,
    ):
        given.write(stdin)
        given.seek(0)
        tree = os.path.dirname(git_dir)
        limited = [] if file_bytes is None or sys.platform != "linux" else _limited(memory, file_bytes)
        process = subprocess.Popen(
            [*limited, find_git(), *OPTIONS, f"--git-dir={git_dir}", *arguments],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**ENVIRONMENT, "GIT_WORK_TREE": tree, **variables},
            cwd=folder or tree,  # files that the configuration names are relative to the working tree
            start_new_session=True,
            pass_fds=[*leash.pass_fds, *pass_fds],
        )
        leash.tie(process.pid)
        _limit(process, memory)
        yield from _output(process, command, deadline, meanwhile)
        errors.seek(0)
        text = redact(errors.read(MAX_ERROR_BYTES).rstrip(b"\0").decode("utf-8", "replace").strip())
        if process.returncode != 0:
            logger.debug("git %s in %s: exit status %d: %s", command, git_dir, process.returncode, text)
            if memory is not None and _NO_MEMORY.search(text):
                raise GitOutOfMemory(command, memory)
            raise GitFailed(command, process.returncode, text)
        return text


# "fatal: Out of memory, malloc failed", "fatal: mmap failed: Cannot allocate memory"
_NO_MEMORY = re.compile("out of memory|cannot allocate memory", re.IGNORECASE)


def _limited(memory: int | None, file_bytes: int) -> list[str]:
    """Return the beginning of a command that is to have limits."""
    # In KiB, and in blocks of 512 bytes. One that this process may not set is lower already.
    limits = f"ulimit -f {-(-file_bytes // 512)};" + ("" if memory is None else f"ulimit -v {memory // 1024};")
    return ["/bin/sh", "-c", f'{limits} exec "$@"', "git"]


def _limit(process: subprocess.Popen[bytes], memory: int | None) -> None:
    """Set the length of the pipe and the limit of memory of git, as far as this process may: neither is needed."""
    if sys.platform != "linux":
        return
    # Not by Popen(pipesize=…), which fails for a user who has too many pages in pipes.
    with suppress(OSError):
        assert process.stdout is not None
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    # From here: code between fork and exec is unsafe with threads, and a shell between would take as long as git.
    if memory is not None:
        with suppress(OSError):  # it has ended
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))


def _nameless_file(size: int | None = None) -> IO[bytes]:
    """Make a file in memory, because a disk may be full; where there are none, in the folder of temporary files.

    :param size: in bytes, of a file in memory that is filled with NUL and cannot grow.
    """
    if sys.platform != "linux" or not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    file = os.memfd_create("git", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if size is not None:
        os.truncate(file, size)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return open(file, "w+b" if size is None else "r+b")


class _Leash:
    """A pipe that kills git when this process ends: one end is git's, and the kernel signals that the other is closed.

    Unlike ``PR_SET_PDEATHSIG`` it needs no code between fork and exec, which threads make unsafe, and the thread that
    has started git may end. "Linux-specific" (fcntl(2), F_SETSIG): elsewhere there is no pipe.
    """

    def __init__(self) -> None:
        self._ends: Sequence[int] = os.pipe() if sys.platform == "linux" else ()

    @property
    def pass_fds(self) -> Sequence[int]:
        """The descriptors that git is to inherit."""
        return self._ends[:1]

    def tie(self, group: int) -> None:
        """Have the end of this process kill a process group, whose leader has inherited :attr:`pass_fds`."""
        if sys.platform != "linux":
            return
        end, *self._ends = self._ends
        with suppress(ProcessLookupError):  # it has ended, and gevent has noticed already
            fcntl.fcntl(end, fcntl.F_SETOWN, -group)
            fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC)
        os.close(end)

    def __enter__(self) -> _Leash:
        return self

    def __exit__(self, *error: object) -> None:
        for end in self._ends:
            os.close(end)


def find_git() -> str:
    """Return the path of git.

    :raises GitError: when this machine has none.
    """
    path = shutil.which("git")
    if path is None:
        raise GitError("git is not installed on the server")
    return path


def _output(
    process: subprocess.Popen[bytes], command: str, deadline: float | None, meanwhile: Callable[[], object] | None
) -> Generator[bytes, None, None]:
    assert process.stdout is not None
    stdout, owner = process.stdout.fileno(), os.getpid()
    try:
        yield b""
        while True:
            if meanwhile is not None:
                meanwhile()
                soon = time.monotonic() + TICK_SECONDS
                if (deadline is None or soon < deadline) and not _is_ready(stdout, soon):
                    continue
            if not _is_ready(stdout, deadline):
                break
            chunk = os.read(stdout, CHUNK_BYTES)
            if chunk:
                yield chunk
            elif _has_ended(process, deadline):
                return
        raise GitTimeout(command)
    finally:
        # A child that was forked meanwhile ends its copy of this generator too, but git is its parent's.
        if os.getpid() == owner:
            _kill(process)
            process.wait()
        process.stdout.close()


def _is_ready(descriptor: int, deadline: float | None) -> bool:
    """Wait until something can be read, or its end; return False at the deadline."""
    if not hasattr(select, "poll"):  # on Windows, which has nothing to wait for a pipe with
        return True
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    if deadline is None:
        return bool(ready.poll())
    left = deadline - time.monotonic()
    return left > 0 and bool(ready.poll(left * 1000))


def _has_ended(process: subprocess.Popen[bytes], deadline: float | None) -> bool:
    """Wait until git has ended; return False at the deadline."""
    if deadline is not None and sys.platform == "linux":
        # Popen.wait() looks once, too early mostly, and then after a millisecond.
        with suppress(OSError):  # it has ended, and gevent has noticed already; or the kernel is an old one
            end = os.pidfd_open(process.pid)
            try:
                _is_ready(end, deadline)
            finally:
                os.close(end)
    try:
        process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill git and what it may have started; nothing when it is known to have ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
