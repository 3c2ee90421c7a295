"""Local git repositories as sources: commits, files, and blamed lines."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace

from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.sources.git import (
    LOG_FORMAT,
    MEMORY_BYTES,
    GitCommit,
    GitError,
    parse_log,
    path_text,
    split_stream,
)
from flask_grpcweb_scm.scm.sources.git_directory import GitDirectory, MirrorDamaged, MirrorMissing
from flask_grpcweb_scm.scm.sources.source import SNIPPET_LINES, Blame, Line

__all__ = ["Mirror", "MirrorDamaged", "MirrorMissing", "Storage"]

MAX_LINE_BYTES = 2 * 2**10
MAX_PATH_BYTES = 64 * 2**10
MAX_BLAMED_BYTES = 16 * 2**20  # of a file: git blame takes several times the memory
MAX_TREE_FILES = 1_000_000  # of a tree: hardly any has as many, and a few hundred bytes can mean billions
MAX_TREE_BYTES = 256 * 2**20  # of their names


_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{7,64}")
_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")
_BLOB = re.compile(rb"[0-9a-f]{40,64} blob ([0-9]+)")
MIXED_BYTES = 4  # in a path, that may each be a byte or the four characters; of more all are bytes

Folder = tuple[int, int]
Storage = tuple[Folder, "Folder | None"]
"""The folders of an object, by inode and change: they differ once a file is added or removed."""


class Mirror(GitDirectory):
    """The contents of a git directory; every method may raise MirrorDamaged, too.

    :param commits: cache from call to call, by path and id of a commit: where it is stored.
    """

    tree_seconds = 0.0

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
            key, storage = (self.git_dir, sha), storages[sha]
            if sha in types and storage is not None:
                self._commits.put(key, storage, memory_of(key, storage))
        return commits

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

    def log(self, tip: str, *, since: str | None = None) -> Iterator[GitCommit]:
        """Yield the commit `tip` and its ancestors without `since` and its ancestors, parents before children."""
        return self._log("--reverse", "--topo-order", *_range(tip, since))

    def commit(self, sha: str) -> GitCommit:
        """Return a commit by its full id."""
        return next(self._log("--no-walk", _object_id(sha)))

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
            raise GitError(f"the repository has no branch {branch!r}")
        return name, found[0] if found else None

    def files(self, tree: str) -> Iterator[str]:
        """Yield the paths of all files of a tree, without submodules.

        :raises GitError: when there are too many.
        """
        size = 0
        with closing(self._chunks("ls-tree", "-r", "-z", "--full-tree", _object_id(tree))) as listing:
            for number, entry in enumerate(split_stream(listing, b"\0", MAX_PATH_BYTES)):
                size += len(entry)
                if number >= MAX_TREE_FILES or size > MAX_TREE_BYTES:
                    raise GitError(
                        f"the tree has more than {number} files, with {size} bytes of names: too many to list"
                    )
                attributes, _, path = entry.partition(b"\t")
                if b" blob " in attributes and len(entry) < MAX_PATH_BYTES:
                    yield path_text(path)

    def lines(self, sha: str, path: str, numbers: Iterable[int]) -> dict[int, Line] | None:
        """Return lines of a file at a commit, without those past its end; None when there is no such file."""
        numbers, paths = [*numbers], [path, *_with_bytes(path)]
        found = self._snippets_at(sha, paths, numbers)
        if found is None:
            # With an error of its own for a blob that is too large or lost.
            path, blob = self._find_file(sha, paths)
            if blob is None:
                return None
            found = path, self.snippets(blob, numbers)
        path, snippets = found
        blames = self.blame(sha, path, snippets)
        return {number: Line(blames[number], snippet) for number, snippet in snippets.items()}

    def find_file(self, sha: str, path: str) -> str | None:
        """Return the object id of a file's contents at a commit; None when there is no such file.

        :raises GitError: when it is too large to be blamed.
        """
        return self._find_file(sha, [path])[1]

    def _find_file(self, sha: str, paths: Sequence[str]) -> tuple[str, str | None]:
        """Return the first of these paths that is a file, with its object id."""
        listing = self._text("ls-tree", "-z", "--long", "--full-tree", _object_id(sha), "--", *paths)
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

        None when there may be no such file.
        """
        if "\n" in paths[0]:
            return None
        names = "".join(f"{_object_id(sha)}:{path}\n" for path in paths)
        with closing(self._chunks("cat-file", "--batch", stdin=names.encode("utf-8", "surrogateescape"))) as chunks:
            rest = b""
            for path in paths:
                while b"\n" not in rest and (chunk := next(chunks, b"")):
                    rest += chunk
                line, _, rest = rest.partition(b"\n")
                if line.endswith(b" missing"):
                    continue
                match = _BLOB.fullmatch(line)
                if match is None or int(match[1]) > MAX_BLAMED_BYTES:
                    return None
                return path, _cut_out(_first_bytes(itertools.chain([rest], chunks), int(match[1])), numbers)
        return None

    def snippets(self, blob: str, numbers: Iterable[int]) -> dict[int, str]:
        """Return lines of a file with a few lines around each, by number, without those past its end."""
        with closing(self._chunks("cat-file", "blob", _object_id(blob))) as chunks:
            return _cut_out(chunks, numbers)

    def blame(self, sha: str, path: str, numbers: Iterable[int]) -> dict[int, Blame]:
        """Return the commits that last changed lines of a file, as the file was at commit `sha`.

        :raises GitFailed: when the file does not have these lines.
        """
        which = [argument for number in sorted(numbers) for argument in ("-L", f"{number},{number}")]
        if not which:
            return {}
        # The empty name resets blame.ignoreRevsFile of the configuration.
        options = ("--line-porcelain", "--no-textconv", "--ignore-revs-file=")
        with closing(self._chunks("blame", *options, *which, _object_id(sha), "--", path)) as chunks:
            blames = dict(_parse_blame(split_stream(chunks, b"\n", MAX_LINE_BYTES)))
        if not os.path.lexists(os.path.join(os.path.dirname(self.git_dir), ".mailmap")):
            return blames
        # It has given commits other authors, and nothing keeps git blame from reading it in the working tree.
        authors = self._authors({blame.sha for blame in blames.values()})
        return {number: Blame(blame.sha, *authors[blame.sha]) for number, blame in blames.items()}

    def _authors(self, shas: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Return names and addresses of the authors of commits, as the commits have them."""
        options = ("-z", "--no-walk", "--no-patch", "--no-mailmap", "--no-color", "--encoding=UTF-8", "--stdin")
        chunks = self._chunks(
            "log", *options, "--format=%H%x00%an%x00%ae", stdin="".join(f"{sha}\n" for sha in shas).encode()
        )
        fields = iter([*split_stream(chunks, b"\0", MAX_LINE_BYTES)])
        return {
            sha.decode("ascii"): (name.decode("utf-8", "replace"), email.decode("utf-8", "replace").lower())
            for sha, name, email in zip(fields, fields, fields, strict=False)
        }

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
        lines = [*map(_object_id, shas), "HEAD"]
        chunks = self._chunks("cat-file", "--batch-check=%(objecttype)", stdin="\n".join([*lines, ""]).encode())
        output, errors = self._read(chunks, "cat-file")
        *types, head = (line.rpartition(" ")[2] for line in output.splitlines())
        is_missed = "missing" in types or not types
        if is_missed and ("error: " in errors or (head == "missing" and self.branch()[1] is not None)):
            self._warn(f"git cat-file: {errors or 'the commit of HEAD is missing'}")
            raise MirrorDamaged
        return types

    def _log(self, *arguments: str) -> Iterator[GitCommit]:
        what = ("-z", "--raw", "--no-renames", "--no-abbrev", "--encoding=UTF-8", f"--format={LOG_FORMAT}")
        # Against what a repository's configuration may switch on. A .mailmap would not be used, but read: a partial
        # clone may not have it.
        safe = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-mailmap", f"-O{os.devnull}")
        cut = self._commits_cut_off()
        for commit in parse_log(self._chunks("log", *what, *safe, *arguments, "--")):
            # git shows all files of a commit without parents as added.
            yield replace(commit, changes=[], is_cut_off=True) if commit.sha in cut else commit


def _state(folder: str) -> Folder | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _range(tip: str, since: str | None) -> list[str]:
    return [_object_id(tip), *([] if since is None else [f"^{_object_id(since)}"])]


def _object_id(text: str) -> str:
    """Verify an object id before it becomes an argument: ``--output=FILE`` in its place would create FILE."""
    if _OBJECT_ID.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a full object id in lower case")
    return text


def _cut_out(chunks: Iterable[bytes], numbers: Iterable[int]) -> dict[int, str]:
    around = {number: range(max(1, number - SNIPPET_LINES), number + SNIPPET_LINES + 1) for number in numbers}
    wanted = {number for lines in around.values() for number in lines}
    lines: dict[int, str] = {}
    for current, line in enumerate(split_stream(chunks, b"\n", MAX_LINE_BYTES), 1):
        if current in wanted:
            lines[current] = line[:MAX_LINE_BYTES].decode("utf-8", "replace")
        if current >= max(wanted, default=0):
            break
    return {
        number: "\n".join(lines[near] for near in range_ if near in lines)
        for number, range_ in around.items()
        if number in lines
    }


def _first_bytes(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


def _with_bytes(path: str) -> list[str]:
    """Return the paths that :func:`path_text` would write so; bytes that are not UTF-8 are lone surrogates."""
    parts = _ESCAPED.split(path)
    count = len(parts) // 2
    choices = itertools.product((True, False), repeat=count) if count <= MIXED_BYTES else [(True,) * count]
    names = {
        "".join(
            text + (chr(0xDC00 + int(digits, 16)) if is_byte else f"\\x{digits}")
            for text, digits, is_byte in zip(parts[::2], parts[1::2], chosen, strict=False)
        )
        + parts[-1]
        for chosen in choices
        if any(chosen)
    }
    return sorted(name for name in names if path_text(name.encode("utf-8", "surrogateescape")) == path)


def _parse_blame(lines: Iterable[bytes]) -> Iterator[tuple[int, Blame]]:
    """Read ``git blame --line-porcelain``: for each line an id with numbers, facts, and the text after a tab."""
    block: list[str] = []
    for line in lines:
        if not line.startswith(b"\t"):
            block.append(line.decode("utf-8", "replace"))
            continue
        sha, _, number, *_ = block[0].split(" ")
        facts = {name: value for name, _, value in (fact.partition(" ") for fact in block[1:])}
        yield int(number), Blame(sha, facts.get("author", ""), facts.get("author-mail", "").strip("<>").lower())
        block = []
