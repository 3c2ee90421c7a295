"""Parser for the output of ``git log``: pure, and with bounded memory whatever the repository has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

__all__ = ["LOG_FORMAT", "FileChange", "GitCommit", "parse_log", "split_stream"]

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


def parse_log(chunks: Iterable[bytes]) -> Iterator[GitCommit]:
    """Parse the output of ``git log -z --raw`` with the format :data:`LOG_FORMAT`."""
    fields = split_stream(chunks, b"\0", MAX_FIELD_BYTES)
    commit = None
    for text in fields:
        # git separates a commit from its changes by a line feed.
        text = text.lstrip(b"\n")
        if commit is not None and text.startswith(b":"):
            # Not "replace": two paths of one commit must stay two.
            path = next(fields).decode("utf-8", "backslashreplace")
            commit.changes.append(FileChange(path, _CHANGE_TYPES.get(text[-1:], "M")))
        elif text:
            if commit is not None:
                yield commit
            commit = _parse_commit(text, [next(fields) for _ in range(4)])
    if commit is not None:
        yield commit


def _parse_commit(sha: bytes, fields: list[bytes]) -> GitCommit:
    seconds, name, email, message = fields
    return GitCommit(
        sha=sha.decode("ascii"),
        committed=_instant(seconds),
        author_name=name.decode("utf-8", "replace").strip(),
        author_email=email.decode("utf-8", "replace").strip().lower(),
        message=message.decode("utf-8", "replace").rstrip("\n"),
    )


def _instant(seconds: bytes) -> datetime:
    try:
        number = int(seconds)
    except ValueError:  # a commit without a readable date
        number = 0
    return _EPOCH + timedelta(seconds=min(max(number, _FIRST_SECOND), _LAST_SECOND))
