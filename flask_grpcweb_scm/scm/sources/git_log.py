"""The output of ``git log``: commits, and names of files that may be any bytes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from flask_grpcweb_scm.scm.database.models import MAX_FILE_CHANGES

__all__ = [
    "LOG_FORMAT",
    "FileChange",
    "GitCommit",
    "commit_date",
    "parse_log",
    "path_text",
    "paths_with_bytes",
    "split_stream",
]

# NUL is the one byte that neither a message nor a path can have. The number of fields is fixed, and what follows them
# begins with ":" for a file change or with a hexadecimal digit for the next commit: no content can pass for structure.
LOG_FORMAT = "%H%x00%ct%x00%an%x00%ae%x00%B"

MAX_FIELD_BYTES = 4 * 2**20  # a longer message would not fit into a gRPC message of the default size

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# The range of google.protobuf.Timestamp; git itself accepts any number.
_FIRST_SECOND = -62135596800
_LAST_SECOND = 253402300799

# ":100644 120000 <id> <id> T": a change of type, between file and symbolic link, is a modification.
_CHANGE_TYPES = {b"A": "A", b"D": "D"}

_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")
_MIXED_BYTES = 4  # in a path, that may each be a byte or the four characters; of more all are bytes


class FileChange(NamedTuple):
    """A path that a commit changed; renames are not followed."""

    filename: str
    type: str
    """A added, D deleted, M modified."""


@dataclass(frozen=True, slots=True)
class GitCommit:
    """A commit as ``git log --raw`` shows it: a merge has no changes."""

    sha: str
    committed: datetime
    author_name: str
    author_email: str
    message: str
    changes: list[FileChange] = field(default_factory=list)
    is_cut_off: bool = False
    """True for a commit whose parents, and so its changes, a shallow clone does not have."""


def split_stream(chunks: Iterable[bytes], separator: bytes, limit: int) -> Iterator[bytes]:
    """Split bytes that arrive in chunks; a piece longer than `limit` bytes may be cut.

    The bytes after the last separator are a piece of their own, unless there are none.
    """
    rest = b""
    for chunk in chunks:
        if len(rest) >= limit and separator not in chunk:
            continue
        *pieces, rest = (rest + chunk).split(separator)
        yield from pieces
        rest = rest[:limit]
    if rest:
        yield rest


def path_text(path: bytes) -> str:
    r"""Return the name of a file as callers see it, and as they name it: a byte that is not UTF-8 is ``\xff``."""
    # Not "replace": two paths of one commit must stay two.
    return path.decode("utf-8", "backslashreplace")


def paths_with_bytes(path: str) -> list[str]:
    """Return the paths that :func:`path_text` would write so; bytes that are not UTF-8 are lone surrogates."""
    parts = _ESCAPED.split(path)
    count = len(parts) // 2
    choices = itertools.product((True, False), repeat=count) if count <= _MIXED_BYTES else [(True,) * count]
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


def parse_log(chunks: Iterable[bytes]) -> Iterator[GitCommit]:
    """Parse the output of ``git log -z --raw`` with the format :data:`LOG_FORMAT`.

    A commit with more than :data:`MAX_FILE_CHANGES` comes before all of them are read.
    """
    fields = split_stream(chunks, b"\0", MAX_FIELD_BYTES)
    commit, is_due = None, False
    for text in fields:
        # git separates a commit from its changes by a line feed.
        text = text.lstrip(b"\n")
        if commit is not None and text.startswith(b":"):
            name = next(fields)
            if not is_due:
                continue
            commit.changes.append(FileChange(path_text(name), _CHANGE_TYPES.get(text[-1:], "M")))
            if len(commit.changes) > MAX_FILE_CHANGES:
                yield commit
                is_due = False
        elif text:
            if commit is not None and is_due:
                yield commit
            commit, is_due = _parse_commit(text, [next(fields) for _ in range(4)]), True
    if commit is not None and is_due:
        yield commit


def _parse_commit(sha: bytes, fields: list[bytes]) -> GitCommit:
    seconds, name, email, message = fields
    return GitCommit(
        sha=sha.decode("ascii"),
        committed=commit_date(seconds),
        author_name=name.decode("utf-8", "replace").strip(),
        author_email=email.decode("utf-8", "replace").strip().lower(),
        message=message.decode("utf-8", "replace").rstrip("\n"),
    )


def commit_date(seconds: bytes) -> datetime:
    """Return the instant of seconds since 1970, within the years that callers know."""
    try:
        number = int(seconds)
    except ValueError:  # a commit without a readable date
        number = 0
    return _EPOCH + timedelta(seconds=min(max(number, _FIRST_SECOND), _LAST_SECOND))
