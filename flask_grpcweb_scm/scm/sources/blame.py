"""The last changes of lines: how they are asked for, what is looked through, and what is found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from flask_grpcweb_scm.scm.sources.git_log import commit_date

__all__ = [
    "CUT_OFF",
    "DEFAULT_BLAME",
    "IGNORE_FILE",
    "MAX_IGNORE_FILE_BYTES",
    "NOTHING_IGNORED",
    "Blame",
    "BlameOptions",
    "BlamedLine",
    "IgnoredRevisions",
    "Line",
    "NoSuchCommit",
    "parse_blame",
    "summary",
    "without_whitespace",
]

IGNORE_FILE = ".git-blame-ignore-revs"
MAX_IGNORE_FILE_BYTES = 2**20
MAX_IGNORED_REVISIONS = 2000  # git looks each up at every blame
MAX_SUMMARY_CHARACTERS = 1000

# "Each line may have an object name, comments begin with a '#'": what `git blame --ignore-revs-file` accepts of it. For
# any other line git refuses the whole file.
_REVISION = re.compile(rb"[ \t\r]*([0-9a-fA-F]{40}|[0-9a-fA-F]{64})[ \t\r]*(?:#.*)?", re.DOTALL)


class NoSuchCommit(Exception):
    """Raised when a source does not have a commit."""


@dataclass(frozen=True, slots=True)
class BlameOptions:
    """Changes of lines that are looked through, beyond git's defaults."""

    detect_moves: bool = False
    """Moves within the file, as ``git blame -M``."""
    ignore_whitespace: bool = False
    """Changes of whitespace, as ``git blame -w``."""
    include_ignored_revisions: bool = False
    """False looks through the repository's :class:`IgnoredRevisions`."""
    pursue_moves: bool = False
    """Moves that ``git blame -M`` does not see, too; only with :attr:`detect_moves`, and where git does the work."""


@dataclass(frozen=True, slots=True)
class IgnoredRevisions:
    """The commits in a file :data:`IGNORE_FILE`, whose changes are looked through."""

    listing: bytes = b""
    """Full ids in lower case, a line each, perhaps of commits that the repository does not have."""
    key: str = ""
    """A digest of them; empty when there are none."""
    is_cut: bool = False
    """True when the file has more, which cannot be read."""

    @classmethod
    def parse(cls, content: bytes, digits: int) -> IgnoredRevisions:
        """Read the content of a file, without the lines that git could not read.

        :param content: more than :data:`MAX_IGNORE_FILE_BYTES` are not read.
        :param digits: of the ids in the repository.
        """
        whole = content[:MAX_IGNORE_FILE_BYTES]
        lines = whole.split(b"\n")
        if len(content) > len(whole):
            del lines[-1]
        matches = filter(None, map(_REVISION.fullmatch, lines))
        ids = [*dict.fromkeys(match[1].lower() for match in matches if len(match[1]) == digits)]
        is_cut = len(content) > len(whole) or len(ids) > MAX_IGNORED_REVISIONS
        listing = b"".join(b"%s\n" % each for each in ids[:MAX_IGNORED_REVISIONS])
        return cls(listing, hashlib.sha256(listing).hexdigest() if listing else "", is_cut)

    def __contains__(self, sha: str) -> bool:
        return sha.encode() in self.listing


@dataclass(frozen=True, slots=True)
class Blame:
    """The last change of a line."""

    sha: str
    author_name: str
    author_email: str
    """Address in lower case; empty when unknown."""
    date: datetime | None = None
    """The commit date, in UTC; None when unknown."""
    subject: str = ""
    """The first line of the commit's message."""
    approximate: str = ""
    """A reason why the last change may be another commit's; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file as it was at a commit."""

    blame: Blame
    snippet: str
    """The line with a few around it."""


CUT_OFF = "the history of the mirror ends at this commit: it is a shallow clone"
DEFAULT_BLAME = BlameOptions()
NOTHING_IGNORED = IgnoredRevisions()


def summary(message: str) -> str:
    """Return the first line of a commit's message, as ``git blame`` shows it."""
    return message.lstrip("\n").partition("\n")[0].strip()[:MAX_SUMMARY_CHARACTERS]


def without_whitespace(line: bytes) -> bytes:
    """Return what ``git blame -w`` compares of a line."""
    return b"".join(line.split())


class BlamedLine(NamedTuple):
    """A line of the output of ``git blame``."""

    blame: Blame
    is_first: bool
    """True when history begins, or is cut off, at the commit."""
    path: str
    """The path that the file had in the commit; empty when git quotes it, or it is not UTF-8."""
    number: int
    """The number that the line had there."""
    text: bytes
    """The line, without whitespace."""


def parse_blame(lines: Iterable[bytes]) -> Iterator[tuple[int, BlamedLine]]:
    """Read ``git blame --line-porcelain``: the number of each line, with what git found.

    For each line there are an id with numbers, facts, and its text after a tab.
    """
    block: list[str] = []
    for line in lines:
        if not line.startswith(b"\t"):
            block.append(line.decode("utf-8", "replace"))
            continue
        sha, origin, number, *_ = block[0].split(" ")
        facts = {name: value for name, _, value in (fact.partition(" ") for fact in block[1:])}
        mail, subject = facts.get("author-mail", ""), facts.get("summary", "")
        # What git cannot read of a broken commit, and has no name for: `git log` shows nothing there.
        is_known, is_named = mail.startswith("<"), subject != f"({sha})"
        blame = Blame(
            sha,
            facts.get("author", "").strip() if is_known else "",
            mail.removeprefix("<").removesuffix(">").strip().lower() if is_known else "",
            commit_date(facts.get("committer-time", "").encode()),
            summary(subject) if is_named else "",
        )
        path = facts.get("filename", "")
        is_path = path[:1] != '"' and "\ufffd" not in path
        yield (
            int(number),
            BlamedLine(blame, "boundary" in facts, path if is_path else "", int(origin), without_whitespace(line)),
        )
        block = []
