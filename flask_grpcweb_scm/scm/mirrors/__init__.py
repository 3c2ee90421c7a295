"""Mirrors that the service fetches itself: bare, and each one's place is known by its repository's row.

One process at a time changes a mirror, by a lock that its git holds too: what a killed one has left goes before the
next one begins. Readers need no lock, as git's do not.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask_grpcweb_scm.scm.mirrors.remote import MAX_FILE_BYTES, MAX_LINE_BYTES, FetchFailed, Refs, Remote, variables_of
from flask_grpcweb_scm.scm.sources.git import GitError, GitFailed
from flask_grpcweb_scm.scm.sources.git_directory import SHA256_DIGITS, GitDirectory
from flask_grpcweb_scm.scm.sources.git_log import split_stream

if sys.platform != "win32":
    import fcntl

__all__ = ["FolderFailed", "Limits", "MirrorBusy", "OwnMirror", "places_below", "size_of"]

logger = logging.getLogger(__name__)

LOCK_SECONDS = 10.0
"""That git may take to end after the worker that has started it."""
PAUSE_SECONDS = 0.1
NOTE_SECONDS = 10.0
MAX_REFS = 250_000
NO_BRANCH = "refs/heads/main"
"""Named by HEAD where the remote says nothing."""
LEFT_OVER = ("tmp_", ".tmp-", "incoming-")
"""Beginnings of names below ``objects`` that git gives to what is not complete."""
MAINTENANCE = {
    "gc.auto": "2000",
    "gc.autoPackLimit": "30",
    "gc.autoDetach": "false",
    # Large packs stay as they are: only what has come since is packed anew.
    "gc.bigPackThreshold": "512m",
    "gc.writeCommitGraph": "false",
    # Commits that a force-push has taken from their branch are still wanted.
    "gc.cruftPacks": "true",
    "gc.pruneExpire": "90.days.ago",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "pack.deltaCacheSize": "64m",
}


class MirrorBusy(GitError):
    """Raised when another process changes the mirror."""

    def __init__(self) -> None:
        super().__init__("another process of this machine changes the mirror")


class FolderFailed(GitError):
    """Raised when the folder of mirrors is none that can be written."""

    def __init__(self, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        super().__init__(
            f"the folder of GRPC_SCM_MIRRORS cannot be written: {reason}; the user of this process needs to own it, on"
            " a disk with space"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of work on a mirror, and functions that are called meanwhile."""

    timeout: float | None
    """Seconds from now; None for any number."""
    memory: int | None
    """Bytes of each run of git; None for any number."""
    size: int | None = None
    """Bytes that the mirror may have; None for any number."""
    check: Callable[[], object] = bool
    """Is called again and again; what it raises ends the work."""
    note: Callable[[str], object] = bool
    """Is told how far it is."""


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FolderFailed(error) from error


class OwnMirror(GitDirectory):
    """The mirror at a place, which need not exist.

    :param path: a git directory, in a folder of the root of all mirrors.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(str(path), timeout=limits.timeout, memory=limits.memory)
        self.path = path
        self._lock_file = path.with_name(f"{path.name.partition('.')[0]}.lock")
        self._limits = limits
        self._how: dict[str, Any] = {
            "meanwhile": limits.check,
            "variables": variables_of(MAINTENANCE),
            "file_bytes": MAX_FILE_BYTES,
        }

    def exists(self) -> bool:
        """Tell whether there is one, perhaps not complete."""
        return self.path.is_dir()

    def is_complete(self) -> bool:
        """Tell whether it was as its remote once."""
        return (self.path / "packed-refs").exists()

    def update(self, remote: Remote, *, blobless: bool = False) -> bool:
        """Make the mirror what its remote is; return False when it was so before.

        One that turns out to be damaged is fetched anew.

        :param blobless: without the contents of files.
        :raises GitError: when that fails, or is over a limit; MirrorBusy, FolderFailed.
        """
        with self._locked():
            self._sweep()
            try:
                return self._update(remote, blobless=blobless)
            finally:
                self._sweep()

    def discard(self) -> None:
        """Delete the mirror.

        :raises GitError: MirrorBusy, when another process changes it; FolderFailed.
        """
        with self._locked(), _writing():
            self._remove()
            if sys.platform != "win32":
                self._lock_file.unlink()

    def problems(self, *, full: bool = False) -> str:
        """Return what git finds wrong with the mirror; empty for nothing.

        :param full: read the contents of files too.
        """
        checks = [["fsck", "--no-dangling", "--no-progress", "--full" if full else "--connectivity-only"]]
        if self._has_graph():
            checks.append(["commit-graph", "verify", "--no-progress"])
        for arguments in checks:
            try:
                self._text(*arguments, is_guess=True)
            except GitFailed as error:
                return error.errors.partition("\n")[0] or str(error)
        return ""

    def _update(self, remote: Remote, *, blobless: bool) -> bool:
        wanted = remote.refs(str(self.path.parent), **self._how_of_remotes())
        if len(wanted.ids) > MAX_REFS:
            raise FetchFailed(f"the remote has {len(wanted.ids)} branches and tags; a mirror may have {MAX_REFS}")
        self._prepare(remote.url, wanted, blobless=blobless)
        try:
            before = self._refs()
        except GitFailed:
            self._begin_anew(remote.url, wanted, blobless=blobless)
            before = self._refs()
        head = _head_of(wanted, before.head)
        if (before.head, before.ids) == (head, wanted.ids) and self._has_graph() == bool(wanted.ids):
            return False
        try:
            self._fetch(remote, blobless=blobless)
        except FetchFailed as error:
            if not error.may_be_local or not self.problems():
                raise
            self._begin_anew(remote.url, wanted, blobless=blobless)
            self._fetch(remote, blobless=blobless)
        self._text("symbolic-ref", "HEAD", head)
        self._text("pack-refs", "--all")
        if wanted.ids:
            self._maintain("commit-graph", "write", "--reachable", "--changed-paths", "--split", "--no-progress")
            self._maintain("gc", "--auto", "--quiet")
        return True

    def _begin_anew(self, url: str, wanted: Refs, *, blobless: bool) -> None:
        self._limits.note("the mirror is damaged; it is fetched anew")
        self._remove()
        self._prepare(url, wanted, blobless=blobless)

    def _fetch(self, remote: Remote, *, blobless: bool) -> None:
        limit, noted = self._limits.size, time.monotonic()

        def watch() -> None:
            nonlocal noted
            self._limits.check()
            size = size_of(self.path / "objects")
            if limit is not None and size >= limit:
                raise FetchFailed(f"the mirror would have more than {limit} bytes; GRPC_SCM_MIRROR_BYTES can allow it")
            if time.monotonic() - noted > NOTE_SECONDS:
                noted = time.monotonic()
                self._limits.note(f"fetching: {size / 2**20:.0f} MiB")

        watch()
        how = {**self._how_of_remotes(), "meanwhile": watch}
        if limit is not None:
            how["file_bytes"] = limit - size_of(self.path / "objects")
        try:
            remote.fetch(self.git_dir, blobless=blobless, **how)
        except GitError:
            watch()  # git may have come to the limit before us
            raise

    def _how_of_remotes(self) -> dict[str, Any]:
        how = {name: value for name, value in self._how.items() if name != "variables"}
        return {**how, "deadline": self.deadline, "memory": self._memory}

    def _maintain(self, *arguments: str) -> None:
        """Run git for what a mirror can do without."""
        try:
            self._text(*arguments)
        except GitError as error:
            logger.warning("the mirror %s is not maintained: %s", self.git_dir, error)

    def _refs(self) -> Refs:
        head = self._optional_text("symbolic-ref", "--quiet", "HEAD") or ""
        with closing(self._chunks("for-each-ref", "--format=%(objectname) %(refname)")) as chunks:
            lines = (line.decode("utf-8", "surrogateescape") for line in split_stream(chunks, b"\n", MAX_LINE_BYTES))
            return Refs(head, "", {name: value for value, _, name in (line.partition(" ") for line in lines)})

    def _chunks(self, *arguments: str, is_guess: bool = False, **how: Any) -> Generator[bytes, None, str]:
        return super()._chunks(*arguments, is_guess=is_guess, **{**self._how, **how})

    def _has_graph(self) -> bool:
        return any((self.path / "objects/info" / name).exists() for name in ("commit-graph", "commit-graphs"))

    @_writing()
    def _prepare(self, url: str, wanted: Refs, *, blobless: bool) -> None:
        """Write what a mirror consists of beside objects and refs."""
        is_sha256 = any(len(name) == SHA256_DIGITS for name in wanted.ids.values())
        lines = [
            *("[core]", "\trepositoryFormatVersion = 1", "\tbare = true", "[extensions]"),
            *(["\tobjectFormat = sha256"] if is_sha256 else []),
            *(["\tpartialClone = origin"] if blobless else []),
            *('[remote "origin"]', f'\turl = "{url}"'),
            *(["\tpromisor = true", "\tpartialCloneFilter = blob:none"] if blobless else []),
        ]
        config, text = self.path / "config", "\n".join([*lines, ""])
        before = config.read_text("utf-8", "replace") if config.exists() else ""
        if before and (("sha256" in before) != is_sha256 or ("promisor" in before and not blobless)):
            self._remove()  # git cannot make the one of the other
        try:
            self._make_folders()
        except (FileExistsError, NotADirectoryError):  # a file is where one is to be
            self._remove()
            self._make_folders()
        for file, content in ((self.path / "HEAD", f"ref: {NO_BRANCH}\n"), (config, text)):
            if not file.exists() or (file == config and content != before):
                new = file.with_name(f"{file.name}.lock")
                new.write_text(content)
                new.replace(file)

    def _make_folders(self) -> None:
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    @_writing()
    def _sweep(self) -> None:
        """Remove what killed runs of git have left: locks that nobody holds, and what is not complete."""
        for folder, folders, names in os.walk(self.path):
            is_objects = Path(folder).is_relative_to(self.path / "objects")
            for name in names:
                if name.endswith(".lock") or (is_objects and name.startswith(LEFT_OVER)):
                    with suppress(FileNotFoundError):
                        os.remove(os.path.join(folder, name))
            for name in folders:
                if is_objects and name.startswith(LEFT_OVER):
                    shutil.rmtree(os.path.join(folder, name))

    def _remove(self) -> None:
        if self.exists():
            # At once for readers, and for whoever looks for it.
            aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
            self.path.rename(aside)
            shutil.rmtree(aside)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the mirror."""
        with _writing():
            self.path.parent.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        if sys.platform == "win32":
            yield
            return
        end = min(time.monotonic() + LOCK_SECONDS, self.deadline or math.inf)
        while (lock := _lock(self._lock_file)) is None:
            self._limits.check()
            if time.monotonic() > end:
                raise MirrorBusy
            time.sleep(PAUSE_SECONDS)
        try:
            # It stays locked until git has ended too, which may outlive a killed worker by a moment.
            self._how["pass_fds"] = [lock]
            yield
        finally:
            self._how.pop("pass_fds", None)
            os.close(lock)


def places_below(root: Path, repository_id: int | None = None) -> list[Path]:
    """Return the places of all mirrors in a folder, and of what is left of deleted ones.

    :param repository_id: only those of this repository, and of earlier ones with its id; None for all.
    """
    pattern = "[0-9]*" if repository_id is None else str(repository_id)
    return sorted(path for path in root.glob(f"[0-9]*/{pattern}-*.git*") if path.is_dir())


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder, at any depth."""
    size = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(top, name)).st_size
    return size


@_writing()
def _lock(path: Path) -> int | None:
    """Open a file that only one process at a time has open; None when another one has."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == os.stat(path).st_ino:
            return lock
    os.close(lock)  # which it may have deleted
    return None


def _head_of(wanted: Refs, before: str) -> str:
    """Return the branch that HEAD of a mirror is to name: the remote's HEAD may name none, or one that is not there."""
    if wanted.head in wanted.ids or (wanted.head and not wanted.ids):
        return wanted.head
    branches = [name for name in wanted.ids if name.startswith("refs/heads/")]
    same = [name for name in branches if wanted.ids[name] == wanted.head_id]
    usual = [name for name in (before, NO_BRANCH, "refs/heads/master") if name in branches]
    return next(iter([*(name for name in usual if name in same), *same, *usual, *branches]), before or NO_BRANCH)
