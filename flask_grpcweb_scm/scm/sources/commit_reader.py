"""Commits of a git directory."""

from __future__ import annotations

import collections
import itertools
import math
import os
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace

from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.sources.git import MEMORY_BYTES, GitError
from flask_grpcweb_scm.scm.sources.git_directory import GitDirectory, MirrorDamaged
from flask_grpcweb_scm.scm.sources.git_log import LOG_FORMAT, GitCommit, parse_log, paths_with_bytes

__all__ = ["BatchedObjects", "CommitReader", "Storage", "checked_id"]

_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{7,64}")

_BATCHED = re.compile(rb"([0-9a-f]{40,64}) (commit|tree|blob|tag) ([0-9]+)")
MAX_SECONDS = 2**31 - 1
# What has a meaning in a basic regular expression.
_BASIC = re.compile(r"[][\\.*^$]")
_ESCAPE = r"\\\g<0>"

FolderState = tuple[int, int]
Storage = tuple[FolderState, "FolderState | None"]
"""The folders of an object, by inode and change: they differ once a file is added or removed."""


class CommitReader(GitDirectory):
    """The commits of a git directory; every method may raise MirrorDamaged, too.

    :param commits: cache from call to call, by path and id of a commit: where it is stored.
    """

    def __init__(
        self,
        git_dir: str,
        *,
        timeout: float | None,
        memory: int | None = MEMORY_BYTES,
        commits: LruCache[Storage] | None = None,
    ) -> None:
        super().__init__(git_dir, timeout=timeout, memory=memory)
        self._commits = LruCache(0) if commits is None else commits
        self._prepared: dict[str, list[str]] = {}
        """Ids of commits, by ids and prefixes."""

    @property
    def identity(self) -> str:
        """Unique among all repositories."""
        return self.git_dir

    def has_commit(self, sha: str) -> bool:
        """Tell whether a full object id is that of a commit.

        A commit that exists is cached as long as the folders that store it do not change: not once the mirror is
        deleted, or replaced, or rid of commits by ``git gc``. A missing one is looked up every time.
        """
        if sha in self._prepared:
            return bool(self._prepared[sha])
        return bool(self._commits_among([sha]))

    def prepare(self, shas: Iterable[str]) -> None:
        """Look up many commits, by ids and prefixes, by few runs of git in place of one or two for each."""
        names = {*shas}
        prefixes = [name for name in names if _PREFIX.fullmatch(name) and not _OBJECT_ID.fullmatch(name)]
        found = []
        with suppress(GitError):  # so that each is looked up by itself, and has an error of its own
            if prefixes:
                found = self._text("rev-parse", *(f"--disambiguate={prefix}" for prefix in prefixes)).split()
            commits = self._commits_among({*found, *filter(_OBJECT_ID.fullmatch, names)})
            self._prepared.update({name: [sha for sha in commits if sha.startswith(name)] for name in prefixes})
            self._prepared.update({sha: [sha] for sha in commits})

    def _commits_among(self, shas: Collection[str]) -> list[str]:
        storages = {sha: self._storage(sha) for sha in shas}
        unknown = [
            sha
            for sha, storage in storages.items()
            if storage is None or self._commits.get((self.git_dir, sha)) != storage
        ]
        types = dict(zip(unknown, self._object_types(unknown), strict=True)) if unknown else {}
        commits = [sha for sha in storages if types.get(sha, "commit") == "commit"]
        for sha in commits:
            if sha in types:
                self._remember_commit(sha, storages[sha])
        return commits

    def _remember_commit(self, sha: str, storage: Storage | None) -> None:
        """Note that a commit exists.

        :param storage: before it was read.
        """
        if storage is not None:
            key = (self.git_dir, sha)
            self._commits.put(key, storage, memory_of(key, storage))

    def commits_starting_with(self, prefix: str) -> list[str]:
        """Return the ids of all commits with a prefix.

        :raises ValueError: unless it is 7 hexadecimal digits or more.
        """
        if _PREFIX.fullmatch(prefix) is None:
            raise ValueError(f"{prefix!r} is not 7 to 64 lower-case hexadecimal digits")
        if prefix in self._prepared:
            return self._prepared[prefix]
        shas = self._text("rev-parse", f"--disambiguate={prefix}").split()
        return [sha for sha, kind in zip(shas, self._object_types(shas), strict=True) if kind == "commit"]

    def count(self, tip: str, *, since: str | None = None) -> int:
        """Count the commits of :meth:`log`."""
        return int(self._text("rev-list", "--count", *_range(tip, since)))

    def page(
        self, tip: str, *, path: str, author: str, since: float | None, until: float | None, skip: int, limit: int
    ) -> list[str]:
        """Return the ids of the commit `tip` and its ancestors, the newest first.

        :param path: of a file that they have changed; empty for any.
        :param author: an address, which has an ``@``, or a name; empty for anybody.
        :param since: seconds since the epoch, as `until`, which is exclusive.
        """
        flags = []
        if "@" in author:
            flags += ["--fixed-strings", "--regexp-ignore-case", f"--author=<{author}>"]
        elif author:
            flags += ["--basic-regexp", f"--author=^{_BASIC.sub(_ESCAPE, author)} <"]
        # What git cannot read as a number is before, or after, all commits. Lines are patterns of their own for it, and
        # no author has two.
        if (until is not None and until <= 0) or "\n" in author:
            return []
        if since is not None and since > 0:
            flags.append(f"--max-age={min(math.ceil(since), MAX_SECONDS)}")
        if until is not None and until <= MAX_SECONDS:
            flags.append(f"--min-age={math.ceil(until) - 1}")
        if not path:
            window = [f"--skip={skip}", f"--max-count={limit}"]
            return self._text("rev-list", *flags, *window, checked_id(tip), "--").split()
        # All that are stored as changes of a file: merges have none, and no commit is left out for another one. git
        # takes the path for that of a folder too.
        flags += ["--full-history", "--no-merges", checked_id(tip)]
        with closing(self._log(*flags, paths=[path, *paths_with_bytes(path)])) as commits:
            found = (commit.sha for commit in commits if any(change.filename == path for change in commit.changes))
            return [*itertools.islice(found, skip, skip + limit)]

    def log(self, tip: str, *, since: str | None = None) -> Iterator[GitCommit]:
        """Yield the commit `tip` and its ancestors without `since` and its ancestors, parents before children."""
        return self._log("--reverse", "--topo-order", *_range(tip, since))

    def commit(self, sha: str) -> GitCommit:
        """Return a commit by its full id."""
        return next(self._log("--no-walk", checked_id(sha)))

    def _storage(self, sha: str) -> Storage | None:
        """Return the current folders of an object; None when it may be elsewhere."""
        # A linked working tree has no objects of its own; alternates name folders of others, gitrepository-layout(5).
        objects = f"{self.git_dir}/objects"
        packs = _state(f"{objects}/pack")
        if packs is None or os.path.exists(f"{objects}/info/alternates"):
            return None
        return packs, _state(f"{objects}/{sha[:2]}")

    def _object_types(self, shas: Iterable[str]) -> list[str]:
        """Return the types of objects, "missing" for those that do not exist.

        :raises MirrorDamaged: when one is missing because objects are lost or broken.
        """
        # git calls an object that it cannot read "missing" too, and says more on standard error. HEAD is there to tell
        # whether there are objects at all.
        lines = [*map(checked_id, shas), "HEAD"]
        chunks = self._chunks("cat-file", "--batch-check=%(objecttype)", stdin="\n".join([*lines, ""]).encode())
        output, errors = self._read(chunks, "cat-file")
        *types, head = (line.rpartition(" ")[2] for line in output.splitlines())
        is_missed = "missing" in types or not types
        if is_missed and ("error: " in errors or (head == "missing" and self.branch()[1] is not None)):
            self._warn(f"git cat-file: {errors or 'the commit of HEAD is missing'}")
            raise MirrorDamaged
        return types

    def _log(self, *arguments: str, paths: Sequence[str] = ()) -> Generator[GitCommit, None, None]:
        what = ("-z", "--raw", "--no-renames", "--no-abbrev", "--encoding=UTF-8", f"--format={LOG_FORMAT}")
        # Against what a repository's configuration may switch on. A .mailmap would not be used, but read: a partial
        # clone may not have it.
        safe = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-mailmap", f"-O{os.devnull}")
        cut = self._commits_cut_off()
        for commit in parse_log(self._chunks("log", *what, *safe, *arguments, "--", *paths)):
            # git shows all files of a commit without parents as added.
            yield replace(commit, changes=[], is_cut_off=True) if commit.sha in cut else commit


class BatchedObjects:
    """The output of ``git cat-file --batch``, one object after the other."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self._left = 0
        """Bytes of the current object, and of the line feed after it, that are still to come."""

    def next(self) -> tuple[str, str, int]:
        """Return type, id and size of the next object; an empty type for one that is missing."""
        collections.deque(self._take(self._left), maxlen=0)
        while b"\n" not in self._rest and (chunk := next(self._chunks, None)) is not None:
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        match = _BATCHED.fullmatch(line)
        if match is None:
            self._left = 0
            return "", "", 0
        self._left = int(match[3]) + 1
        return match[2].decode(), match[1].decode(), int(match[3])

    def content(self) -> Iterator[bytes]:
        """Yield the content of the object."""
        yield from self._take(self._left - 1)

    def _take(self, count: int) -> Iterator[bytes]:
        while count > 0 and (chunk := self._rest or next(self._chunks, b"")):
            piece, self._rest = chunk[:count], chunk[count:]
            count -= len(piece)
            self._left -= len(piece)
            yield piece


def checked_id(text: str) -> str:
    """Verify an object id before it becomes an argument: ``--output=FILE`` in its place would create FILE."""
    if _OBJECT_ID.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a full object id in lower case")
    return text


def _state(folder: str) -> FolderState | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _range(tip: str, since: str | None) -> list[str]:
    return [checked_id(tip), *([] if since is None else [f"^{checked_id(since)}"])]
