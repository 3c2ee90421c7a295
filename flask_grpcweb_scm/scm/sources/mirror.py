"""Local git repositories as sources: commits, files, and blamed lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.sources.blame import (
    CUT_OFF,
    DEFAULT_BLAME,
    IGNORE_FILE,
    MAX_IGNORE_FILE_BYTES,
    NOTHING_IGNORED,
    Blame,
    BlamedLine,
    BlameOptions,
    IgnoredRevisions,
    Line,
    NoSuchCommit,
    parse_blame,
    without_whitespace,
)
from flask_grpcweb_scm.scm.sources.commit_reader import BatchedObjects, CommitReader, Storage, checked_id
from flask_grpcweb_scm.scm.sources.git import MEMORY_BYTES, GitError, GitFailed, GitOutOfMemory, GitTimeout
from flask_grpcweb_scm.scm.sources.git_directory import MirrorDamaged, MirrorMissing, NoSuchBranch
from flask_grpcweb_scm.scm.sources.git_log import path_text, paths_with_bytes, split_stream
from flask_grpcweb_scm.scm.sources.moves import HARDER, OF_COMMIT, pursue_moves
from flask_grpcweb_scm.scm.sources.object_files import ObjectFiles, Unreadable
from flask_grpcweb_scm.scm.sources.source import SNIPPET_LINES

__all__ = ["Mirror", "MirrorDamaged", "MirrorMissing", "NoSuchBranch", "Storage", "Tip"]

MAX_LINE_BYTES = 2 * 2**10
MAX_PATH_BYTES = 64 * 2**10
MAX_BLAMED_BYTES = 16 * 2**20  # of a file: git blame takes several times the memory
MAX_TREE_FILES = 1_000_000  # of a tree: hardly any has as many, and a few hundred bytes can mean billions
MAX_TREE_BYTES = 256 * 2**20  # of their names

HERE = os.path.dirname(os.path.abspath(__file__))
_BAD_LIST = re.compile("could not open object name list|invalid object name")


class _OtherLines(Exception):
    """Raised to have lines read in another way than at first."""


class Tip(NamedTuple):
    """The newest commit of a branch."""

    sha: str | None
    """None when there is no such branch, or its commit cannot be read."""
    ignored: IgnoredRevisions


class Mirror(CommitReader):
    """The contents of a git directory; every method may raise MirrorDamaged, too.

    :param commits: see :class:`CommitReader`.
    :param tips: cache from call to call, by path, branch and its state.
    """

    tree_seconds = 0.0

    def __init__(
        self,
        git_dir: str,
        *,
        timeout: float | None,
        memory: int | None = MEMORY_BYTES,
        commits: LruCache[Storage] | None = None,
        tips: LruCache[Tip] | None = None,
    ) -> None:
        super().__init__(git_dir, timeout=timeout, memory=memory, commits=commits)
        self._tips = LruCache(0) if tips is None else tips
        self._own_tips: dict[str, Tip] = {}

    def tree(self, branch: str = "") -> tuple[str, str | None]:
        """Return name and newest tree of a branch, by default of the one that is checked out.

        The tree is None in a repository without commits.

        :raises GitError: when there is no branch of that name, neither here nor fetched from ``origin``.
        """
        name = branch or (self._optional_text("symbolic-ref", "--quiet", "HEAD") or "").removeprefix("refs/heads/")
        if not name:
            return "", self._optional_text("rev-parse", "--verify", "--quiet", "HEAD^{tree}")
        refs = (f"refs/heads/{name}", f"refs/remotes/origin/{name}")
        listing = self._text("for-each-ref", "--format=%(refname)%00%(tree)", *refs)
        # Refs below these match too.
        trees = dict(line.split("\0") for line in listing.splitlines())
        found = [trees[ref] for ref in refs if ref in trees]
        if not found and branch:
            raise NoSuchBranch(f"the repository has no branch {branch!r}")
        return name, found[0] if found else None

    def files(self, tree: str) -> Iterator[str]:
        """Yield the paths of all files of a tree, without submodules.

        :raises GitError: when there are too many.
        """
        size = 0
        with closing(self._chunks("ls-tree", "-r", "-z", "--full-tree", checked_id(tree))) as listing:
            for number, entry in enumerate(split_stream(listing, b"\0", MAX_PATH_BYTES)):
                size += len(entry)
                if number >= MAX_TREE_FILES or size > MAX_TREE_BYTES:
                    raise GitError(
                        f"the tree has more than {number} files, with {size} bytes of names: too many to list"
                    )
                attributes, _, path = entry.partition(b"\t")
                if b" blob " in attributes and len(entry) < MAX_PATH_BYTES:
                    yield path_text(path)

    def tip(self, branch: str = "") -> str | None:
        """Return the newest commit of a branch, by default of the one that is checked out; None without commits.

        :raises GitError: when there is no branch of that name, neither here nor fetched from ``origin``.
        """
        return self._tip(branch).sha or self.branch(branch or None)[1]

    def ignored_revisions(self, branch: str = "") -> IgnoredRevisions:
        """Return what the newest commit of a branch, by default of the one that is checked out, has in its file."""
        return self._tip(branch).ignored

    def _tip(self, branch: str) -> Tip:
        """Read the newest commit of a branch by one run of git, unless the branch is as it was."""
        if branch not in self._own_tips:
            state = self.branch_state(branch)
            key = (self.git_dir, branch, state)
            tip = None if state is None else self._tips.get(key)
            if tip is None:
                tip = self._read_tip(branch)
                if state is not None and tip.sha is not None and state == self.branch_state(branch):
                    self._tips.put(key, tip, memory_of(key, tip))
            self._own_tips[branch] = tip
        return self._own_tips[branch]

    def _read_tip(self, branch: str) -> Tip:
        refs = self.refs_of(branch)
        names = "".join(f"{ref}^{{commit}}\n{ref}:{IGNORE_FILE}\n" for ref in refs)
        sha = None
        # An object that is too large, or broken, is no reason not to blame.
        with (
            suppress(GitFailed, GitOutOfMemory),
            closing(self._chunks("cat-file", "--batch", stdin=names.encode(), is_guess=True)) as chunks,
        ):
            objects = BatchedObjects(chunks)
            for _ in refs:
                kind, sha, _ = objects.next()
                is_file = objects.next()[0] == "blob"
                if kind == "commit":
                    content = b"".join(_first_bytes(objects.content(), MAX_IGNORE_FILE_BYTES + 1)) if is_file else b""
                    return Tip(sha, IgnoredRevisions.parse(content, len(sha)))
            return Tip(None, NOTHING_IGNORED)
        return Tip(sha or None, replace(NOTHING_IGNORED, is_cut=True))

    def lines(
        self,
        sha: str,
        path: str,
        numbers: Iterable[int],
        options: BlameOptions = DEFAULT_BLAME,
        ignored: IgnoredRevisions = NOTHING_IGNORED,
    ) -> dict[int, Line] | None:
        """Return lines of a file at a commit, without those past its end; None when there is no such file.

        :raises NoSuchCommit: when there is no such commit.
        """
        numbers, paths = sorted({*numbers}), [path, *paths_with_bytes(path)]
        if not numbers:
            return {}
        read = cache(partial(self._read_snippets, sha, paths, numbers))

        def read_all() -> None:
            found = read()
            if found is None or len(found[1]) < len(numbers):
                raise _OtherLines

        blames: dict[int, Blame] | None = None
        if len(paths) == 1 and self._storage(checked_id(sha)) is not None:
            with suppress(_OtherLines):
                blames = self.blame(sha, path, numbers, options, ignored, meanwhile=read_all)
        found = read() or self._snippets_at(sha, paths, numbers)
        if found is None:
            if not self.has_commit(sha):
                raise NoSuchCommit(sha)
            # With an error of its own for a blob that is too large or lost.
            path, blob = self._find_file(sha, paths)
            if blob is None:
                return None
            found = path, self.snippets(blob, numbers)
        path, snippets = found
        if blames is None:
            blames = self.blame(sha, path, snippets, options, ignored)
        return {number: Line(blames[number], snippet) for number, snippet in snippets.items()}

    def _read_snippets(
        self, sha: str, paths: Sequence[str], numbers: Iterable[int]
    ) -> tuple[str, dict[int, str]] | None:
        """Return the first of these paths that is a file, with :meth:`snippets`, without git.

        None when git is to be asked.
        """
        storage = self._storage(checked_id(sha))
        if storage is None:
            return None
        with closing(ObjectFiles(f"{self.git_dir}/objects", len(sha))) as objects:
            for path in paths:
                with suppress(Unreadable):
                    content = objects.file_at(sha, path.encode("utf-8", "surrogateescape"))
                    self._remember_commit(sha, storage)
                    return path, _cut_out(_first_lines(content, max(numbers) + SNIPPET_LINES), numbers)
        return None

    def find_file(self, sha: str, path: str) -> str | None:
        """Return the object id of a file's contents at a commit; None when there is no such file.

        :raises GitError: when it is too large to be blamed.
        """
        return self._find_file(sha, [path])[1]

    def _find_file(self, sha: str, paths: Sequence[str]) -> tuple[str, str | None]:
        """Return the first of these paths that is a file, with its object id."""
        listing = self._text("ls-tree", "-z", "--long", "--full-tree", checked_id(sha), "--", *paths)
        found: dict[str, str] = {}
        for entry in listing.split("\0"):
            attributes, _, name = entry.partition("\t")
            if name not in paths:
                continue
            _, kind, blob, size = attributes.split()
            if kind != "blob":
                continue
            # A blob that is lost has none.
            if size.isdecimal() and int(size) > MAX_BLAMED_BYTES:
                raise GitError(f"{name} has {size} bytes; lines of up to {MAX_BLAMED_BYTES} are blamed")
            found[name] = blob
        return next(((path, found[path]) for path in paths if path in found), (paths[0], None))

    def _snippets_at(self, sha: str, paths: Sequence[str], numbers: Iterable[int]) -> tuple[str, dict[int, str]] | None:
        """Return the first of these paths that is a file, with :meth:`snippets`, by one run of git.

        None when there may be no such file, or no such commit.
        """
        if "\n" in paths[0]:
            return None
        names = "".join(f"{name}\n" for name in [checked_id(sha), *(f"{sha}:{path}" for path in paths)])
        storage = self._storage(sha)
        with closing(self._chunks("cat-file", "--batch", stdin=names.encode("utf-8", "surrogateescape"))) as chunks:
            objects = BatchedObjects(chunks)
            if objects.next()[0] != "commit":
                return None
            for path in paths:
                kind, _, size = objects.next()
                if kind == "":
                    continue
                if kind != "blob" or size > MAX_BLAMED_BYTES:
                    return None
                self._remember_commit(sha, storage)
                return path, _cut_out(split_stream(objects.content(), b"\n", MAX_LINE_BYTES), numbers)
        return None

    def snippets(self, blob: str, numbers: Iterable[int]) -> dict[int, str]:
        """Return lines of a file with a few lines around each, by number, without those past its end."""
        with closing(self._chunks("cat-file", "blob", checked_id(blob))) as chunks:
            return _cut_out(split_stream(chunks, b"\n", MAX_LINE_BYTES), numbers)

    def blame(
        self,
        sha: str,
        path: str,
        numbers: Iterable[int],
        options: BlameOptions = DEFAULT_BLAME,
        ignored: IgnoredRevisions = NOTHING_IGNORED,
        *,
        meanwhile: Callable[[], object] = bool,
    ) -> dict[int, Blame]:
        """Return the commits that last changed lines of a file, as the file was at commit `sha`.

        :param meanwhile: is called while git works; what it raises ends git.
        :raises GitFailed: when the file does not have these lines.
        """
        numbers = sorted(numbers)
        if not numbers:
            return {}
        listing = b"" if options.include_ignored_revisions else ignored.listing

        def run(revisions: str, path: str, numbers: Iterable[int], around: int = 0) -> dict[int, BlamedLine]:
            checked_id(revisions.removesuffix(OF_COMMIT))
            which = [part for number in numbers for part in ("-L", f"{max(1, number - around)},{number + around}")]
            # Of an ignored revision, too, it is wanted then what it has moved.
            passed, harder = (b"", HARDER) if revisions.endswith(OF_COMMIT) else (listing, ())
            flags = [*_blame_flags(options, passed), *harder]
            return self._run_blame(*flags, *which, revisions, "--", path, stdin=passed, meanwhile=meanwhile)

        # Of lines that touch, git would look for a move of them together: what one call says, another one might not.
        apart = [[number for number in numbers if number % 2 == odd] for odd in range(2)]
        has_touching = not {number + 1 for number in numbers}.isdisjoint(numbers)
        groups = filter(None, apart) if options.detect_moves and has_touching else [numbers]
        lines = {number: line for group in groups for number, line in run(sha, path, group).items()}
        if options.pursue_moves:
            # Of older files a partial clone may have none; and a commit may change too many.
            with suppress(GitFailed, GitOutOfMemory, GitTimeout):
                lines = pursue_moves(lines, run, self._is_gone)
        ends = self._ends({line.blame.sha for line in lines.values() if line.is_first})
        return {
            number: replace(line.blame, approximate=CUT_OFF) if line.blame.sha in ends else line.blame
            for number, line in lines.items()
        }

    def _is_gone(self, sha: str, path: str, line: BlamedLine) -> bool:
        """Tell whether a commit has moved a line of a parent to a path, and not copied it."""
        names = "".join(f"{each}:{line.path}\n" for each in (line.blame.sha, sha))
        counts = []
        with closing(self._chunks("cat-file", "--batch", stdin=names.encode())) as chunks:
            objects = BatchedObjects(chunks)
            for _ in range(2):
                texts = split_stream(objects.content(), b"\n", MAX_LINE_BYTES) if objects.next()[0] else ()
                counts.append(sum(without_whitespace(text) == line.text for text in texts))
        return counts[0] >= counts[1] if line.path == path else counts[0] > counts[1]

    def _run_blame(self, *arguments: str, stdin: bytes, meanwhile: Callable[[], object]) -> dict[int, BlamedLine]:
        # It reads a .mailmap where it is started, which would give commits to others.
        has_map = os.path.lexists(os.path.join(os.path.dirname(self.git_dir), ".mailmap"))
        how: dict[str, Any] = {"stdin": stdin, "folder": HERE if has_map else ""}
        try:
            return _blamed_lines(self._chunks("blame", *arguments, is_guess=True, **how), meanwhile)
        except GitFailed as error:
            if not _BAD_LIST.search(error.errors):
                self._warn(f"{error}: {error.errors}")
                raise
        # The configuration names another file of revisions, and nothing keeps git from reading it.
        digits = len(arguments[-3].removesuffix(OF_COMMIT))
        return _blamed_lines(self._unconfigured_chunks("blame", *arguments, digits=digits, **how))

    def _ends(self, shas: Collection[str]) -> set[str]:
        """Return those of some commits whose parents a shallow clone does not have: the first one of all has none."""
        cut = self._commits_cut_off().intersection(shas) if shas else ()
        return {sha for sha in cut if "\nparent " in self._text("cat-file", "commit", sha).partition("\n\n")[0]}


def _blame_flags(options: BlameOptions, listing: bytes) -> list[str]:
    how = [*(["-M"] if options.detect_moves else ()), *(["-w"] if options.ignore_whitespace else ())]
    # The empty name resets what blame.ignoreRevsFile of the configuration has brought.
    files = ["--ignore-revs-file=", *(["--ignore-revs-file=/dev/stdin"] if listing else ())]
    return ["--line-porcelain", "--encoding=UTF-8", "--no-textconv", *how, *files]


def _blamed_lines(chunks: Generator[bytes, None, str], meanwhile: Callable[[], object] = bool) -> dict[int, BlamedLine]:
    with closing(chunks):
        next(chunks)
        meanwhile()
        return dict(parse_blame(split_stream(chunks, b"\n", MAX_LINE_BYTES)))


def _first_bytes(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


def _first_lines(content: bytes, count: int) -> list[bytes]:
    lines = content.split(b"\n", count)
    if len(lines) > count or not lines[-1]:
        del lines[-1]
    return lines


def _cut_out(texts: Iterable[bytes], numbers: Iterable[int]) -> dict[int, str]:
    """Return lines of a file with a few lines around each, by number."""
    around = {number: range(max(1, number - SNIPPET_LINES), number + SNIPPET_LINES + 1) for number in numbers}
    wanted = {number for lines in around.values() for number in lines}
    lines: dict[int, str] = {}
    for current, line in enumerate(texts, 1):
        if current in wanted:
            lines[current] = line[:MAX_LINE_BYTES].decode("utf-8", "replace")
        if current >= max(wanted, default=0):
            break
    return {
        number: "\n".join(lines[near] for near in range_ if near in lines)
        for number, range_ in around.items()
        if number in lines
    }
