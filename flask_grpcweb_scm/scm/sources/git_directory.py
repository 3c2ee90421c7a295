"""A git directory on this machine: its layout, its configuration, its branches, and the output of git there."""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Generator, Hashable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from flask_grpcweb_scm.rpc import Incidents
from flask_grpcweb_scm.scm.sources.git import MEMORY_BYTES, GitError, GitFailed, run_git

__all__ = ["GitDirectory", "MirrorDamaged", "MirrorMissing", "NoSuchBranch"]

logger = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 2**20
MAX_REF_BYTES = 4 * 2**10
MAX_ALTERNATES = 6  # of alternates, as many as git follows
MAX_BRANCHES = 10  # that a message names
SHARED = ("objects", "shallow")
SHA256 = "[core]\nrepositoryFormatVersion = 1\n[extensions]\nobjectFormat = sha256\n"
SHA256_DIGITS = 64
STORED_IN = frozenset({"objects", "refs"})  # folders any part of which may be a symbolic link

Self = TypeVar("Self", bound="GitDirectory")

_incidents = Incidents(logger)


class NoSuchBranch(GitError):
    """Raised when a repository has no branch of a name."""


class MirrorMissing(GitError):
    """There is no git repository at the path."""


class MirrorDamaged(GitError):
    """Objects of the repository are lost or broken."""

    def __init__(self) -> None:
        super().__init__("the git mirror of the repository is damaged: run git fsck, or clone and import it again")


class GitDirectory:
    """A git directory on this machine, to be read within one time limit.

    Every method raises MirrorMissing without a repository, GitTimeout after the time limit, and GitFailed when git
    fails. The log has a warning with the path and the errors of git, once a minute for each directory.

    :param git_dir: absolute path of a ``.git`` directory or a bare repository.
    :param timeout: seconds from now; None for no limit.
    :param memory: bytes that git may use; None for no limit.
    """

    def __init__(self, git_dir: str, *, timeout: float | None, memory: int | None = MEMORY_BYTES) -> None:
        self.git_dir = os.path.abspath(git_dir)
        self._memory = memory
        self.deadline = None if timeout is None else time.monotonic() + timeout

    @classmethod
    def find(cls: type[Self], path: str | os.PathLike[str], *, memory: int | None = MEMORY_BYTES) -> Self:
        """Open a working tree or a bare repository, without a time limit.

        :raises MirrorMissing: when `path` is neither; it names the repository that `path` is a folder of.
        """
        root = Path(path).absolute()
        try:
            return cls._open(root, memory)
        except GitError as error:
            top = next(filter(cls._is_repository, root.resolve().parents), None)
            text = "not a git repository" if top is None else f"a folder of the git repository {top}; name that"
            raise MirrorMissing(f"{path} is {text}") from error

    @classmethod
    def _is_repository(cls, root: Path) -> bool:
        with suppress(GitError):
            cls._open(root)
            return True
        return False

    @classmethod
    def _open(cls: type[Self], root: Path, memory: int | None = MEMORY_BYTES) -> Self:
        guess = root / ".git" if (root / ".git").exists() else root
        git_dir = cls(str(guess), timeout=None)._text("rev-parse", "--absolute-git-dir", is_guess=True)
        return cls(git_dir, timeout=None, memory=memory)

    def folders(self) -> list[Path]:
        """Return where its files are: other folders than the one that was named, when a file or a link leads there.

        These are gitfiles, ``commondir`` and alternates (gitrepository-layout(5)), and symbolic links.
        """
        common = Path(os.path.dirname(self.git_dir), self._text("rev-parse", "--git-common-dir"))
        objects = common / "objects"
        found = [Path(self.git_dir), common, *(common / name for name in ("objects/pack", "packed-refs", "refs"))]
        pending = [objects]
        for _ in range(MAX_ALTERNATES):
            found += pending
            pending = [other for folder in pending for other in _alternates(folder)]
        found += [link for folder in (common / "refs", *found) if folder.name in STORED_IN for link in _links(folder)]
        return [*dict.fromkeys(path.resolve() for path in found)]

    @property
    def folder(self) -> str:
        """The folder that relative paths in the configuration are relative to."""
        return os.path.dirname(self.git_dir) if os.path.basename(self.git_dir) == ".git" else self.git_dir

    def branch(self, name: str | None = None) -> tuple[str, str | None]:
        """Return name and newest commit of a branch, by default of the one that is checked out.

        Without a checked-out branch the name is empty; in a repository without commits the commit is None.

        :raises NoSuchBranch: when there is no branch `name`, neither here nor fetched from ``origin``.
        """
        if name is None:
            head = self._optional_text("symbolic-ref", "--quiet", "HEAD") or ""
            return head.removeprefix("refs/heads/"), self._optional_text("rev-parse", "--verify", "--quiet", "HEAD")
        for ref in (f"refs/heads/{name}", f"refs/remotes/origin/{name}"):
            if tip := self._optional_text("show-ref", "--verify", "--hash", ref):
                return name, tip
        raise NoSuchBranch(f"the repository has no branch {name!r}{self.other_branches()}")

    def refs_of(self, branch: str) -> list[str]:
        """Return the refs that may have a branch, here or fetched from ``origin``; without a name that is HEAD."""
        # No name of a ref has any of these; with them, it would name more than one object, or another one.
        if re.search(r"[\s\0:^~]|\.\.|@\{", branch):
            return []
        return [f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"] if branch else ["HEAD"]

    def branch_state(self, branch: str) -> Hashable:
        """Return what is another one once a branch, by default the one that is checked out, is at another commit.

        None where the files of git do not tell: in a linked working tree, and with refs that are stored otherwise.
        """
        if any(os.path.lexists(f"{self.git_dir}/{name}") for name in ("commondir", "reftable")):
            return None
        refs, head = self.refs_of(branch), None
        try:
            if not branch:
                head = _short_text(f"{self.git_dir}/HEAD")
                name = re.fullmatch(r"ref: refs/heads/(.+)\n", head)
                refs = self.refs_of(name[1])[:1] if name else []
            loose = [_short_text(f"{self.git_dir}/{ref}") for ref in refs]
            packed = os.stat(f"{self.git_dir}/packed-refs") if os.path.lexists(f"{self.git_dir}/packed-refs") else None
        except OSError:
            return None
        if not refs or any(text.startswith("ref:") for text in loose):
            return None
        return head, *loose, packed and (packed.st_ino, packed.st_ctime_ns, packed.st_size)

    def other_branches(self) -> str:
        """Return the end of a sentence with the branches that there are, here or fetched from ``origin``."""
        prefixes = ("refs/heads/", "refs/remotes/origin/")
        listing = self._text("for-each-ref", f"--count={MAX_BRANCHES + 2}", "--format=%(refname)", *prefixes)
        refs = (line.removeprefix(prefixes[0]).removeprefix(prefixes[1]) for line in listing.splitlines())
        names = [repr(name) for name in dict.fromkeys(refs) if name != "HEAD"]
        more = ", …" if len(names) > MAX_BRANCHES else ""
        return f"; there are {', '.join(names[:MAX_BRANCHES])}{more}" if names else "; there is none"

    def has_refs(self) -> bool:
        """Tell whether the repository has branches, tags or any other names of objects."""
        return bool(self._text("for-each-ref", "--count=1", "--format=%(refname)"))

    def is_shallow(self) -> bool:
        """Tell whether parents of commits are left out, as in a clone with ``--depth``."""
        return self._text("rev-parse", "--is-shallow-repository") == "true"

    def is_partial(self) -> bool:
        """Tell whether objects may be left out, as in a clone with ``--filter``."""
        return self._optional_text("config", "--get-regexp", r"^remote\..*\.promisor$") is not None

    def remote_url(self) -> str:
        """Return the URL of the remote ``origin``, else of the first, perhaps with credentials; empty without one."""
        listing = self._optional_text("config", "-z", "--get-regexp", r"^remote\..*\.url$") or ""
        urls: dict[str, str] = {}
        for entry in listing.split("\0"):
            name, _, url = entry.partition("\n")
            urls.setdefault(name, url)  # git fetches from the first
        urls.pop("", None)
        return urls.get("remote.origin.url") or next(iter(urls.values()), "")

    def _commits_cut_off(self) -> frozenset[str]:
        """Return the commits whose parents a shallow clone does not have."""
        if not any(os.path.exists(f"{self.git_dir}/{name}") for name in ("shallow", "commondir")):
            return frozenset()
        path = self._text("rev-parse", "--git-path", "shallow")
        with suppress(FileNotFoundError), open(os.path.join(os.path.dirname(self.git_dir), path)) as file:
            return frozenset(file.read().split())
        return frozenset()

    def _optional_text(self, *arguments: str) -> str | None:
        """Return the output of a command; None when that what it is to show does not exist."""
        try:
            return self._text(*arguments, is_guess=True)
        except GitFailed as error:
            if error.status != 1 and "not a valid ref" not in error.errors:
                self._warn(f"{error}: {error.errors}")
                raise
        return None

    def _text(self, *arguments: str, is_guess: bool = False) -> str:
        return self._read(self._chunks(*arguments, is_guess=is_guess), arguments[0])[0]

    def _read(self, chunks: Generator[bytes, None, str], command: str) -> tuple[str, str]:
        """Return standard output and standard error of a command."""
        output, errors = b"", ""
        with closing(chunks):
            while True:
                try:
                    output += next(chunks)
                except StopIteration as end:
                    errors = end.value
                    break
                if len(output) > MAX_OUTPUT_BYTES:
                    raise GitFailed(command, 0, f"more than {MAX_OUTPUT_BYTES} bytes of output")
        return output.decode("utf-8", "surrogateescape").removesuffix("\n"), errors

    def _chunks(self, *arguments: str, is_guess: bool = False, **how: Any) -> Generator[bytes, None, str]:
        """Run git.

        :param is_guess: its failure is no reason for a warning.
        :param how: see :func:`run_git`.
        """
        if not os.path.exists(self.git_dir):
            if not is_guess:
                self._warn("it does not exist")
            raise MirrorMissing("the git mirror of the repository is gone; import it again")
        try:
            return (yield from run_git(self.git_dir, *arguments, deadline=self.deadline, memory=self._memory, **how))
        except GitFailed as error:
            if not is_guess:
                self._warn(f"{error}: {error.errors}")
            raise

    def _unconfigured_chunks(self, *arguments: str, digits: int, **how: Any) -> Generator[bytes, None, str]:
        """Run git with the objects of the repository, and without its configuration and its refs.

        :param digits: of the ids of its objects.
        :param how: see :func:`run_git`.
        """
        objects, shallow = (
            os.path.join(os.path.dirname(self.git_dir), self._text("rev-parse", "--git-path", name)) for name in SHARED
        )
        with tempfile.TemporaryDirectory(prefix="git-") as scratch:
            git_dir = f"{scratch}/empty"
            os.makedirs(f"{git_dir}/refs")
            Path(git_dir, "HEAD").write_text("ref: refs/heads/none\n")
            Path(git_dir, "config").write_text(SHA256 if digits == SHA256_DIGITS else "")
            variables = {"GIT_OBJECT_DIRECTORY": objects, "GIT_SHALLOW_FILE": shallow}
            return (
                yield from run_git(
                    git_dir, *arguments, deadline=self.deadline, memory=self._memory, variables=variables, **how
                )
            )

    def _warn(self, reason: str) -> None:
        _incidents.log(self.git_dir, "git mirror %s cannot be read: %s", self.git_dir, "; ".join(reason.splitlines()))


def _short_text(path: str) -> str:
    """Read a short file; empty when there is none.

    :raises OSError: for anything else that is there, but a folder.
    """
    try:
        # Without O_NONBLOCK, a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            return ""
        text = os.read(descriptor, MAX_REF_BYTES + 1) if stat.S_ISREG(mode) else None
    finally:
        os.close(descriptor)
    if text is None or len(text) > MAX_REF_BYTES:
        raise OSError("not a short file")
    return text.decode("utf-8", "surrogateescape")


def _alternates(objects: Path) -> list[Path]:
    """Return the folders that a folder of objects names for more of them."""
    try:
        with open(objects / "info/alternates", "rb") as file:
            text = file.read(MAX_OUTPUT_BYTES + 1)
    except OSError:
        return []
    if len(text) > MAX_OUTPUT_BYTES:
        raise GitError(f"info/alternates has more than {MAX_OUTPUT_BYTES} bytes")
    return [objects / os.fsdecode(_unquoted(line)) for line in text.split(b"\n") if line and line[:1] != b"#"]


def _unquoted(line: bytes) -> bytes:
    """Read a name that may be in quotes, with escapes as those of C."""
    if len(line) < 2 or not line.startswith(b'"'):
        return line
    return line[1:-1].decode("unicode_escape").encode("latin-1", "replace")


def _links(folder: Path) -> list[Path]:
    """Return the symbolic links in a folder, at any depth."""
    return [
        path
        for top, folders, files in os.walk(folder)
        for path in (Path(top, name) for name in (*folders, *files))
        if path.is_symlink()
    ]
