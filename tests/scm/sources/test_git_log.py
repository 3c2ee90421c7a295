"""The output of git log."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from flask_grpcweb_scm.scm.sources.git_log import FileChange, GitCommit, parse_log, split_stream

A, B = "a" * 40, "b" * 64
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def header(sha: str, seconds: str = "0", name: str = "N", email: str = "E@x", message: str = "m\n") -> str:
    return "\0".join((sha, seconds, name, email, message, ""))


def commit(sha: str, *changes: tuple[str, str], message: str = "m") -> GitCommit:
    return GitCommit(sha, EPOCH, "N", "e@x", message, [FileChange(*change) for change in changes])


LOGS = [
    ("", []),
    (header(A), [commit(A)]),
    (header(A) + header(B), [commit(A), commit(B)]),
    (header(A) + "\n:000000 100644 0 1 A\0x\0" + header(B), [commit(A, ("x", "A")), commit(B)]),
    (
        header(A) + "\n:1 1 1 1 M\0:colon\0:1 0 1 0 D\0new\nline\0:1 1 1 1 T\0\ttab \0",
        [commit(A, (":colon", "M"), ("new\nline", "D"), ("\ttab ", "M"))],
    ),
    (
        header(A, message=":000000 100644 0 1 A\nfile\n\n") + header(B, message=f"\n{A}\n"),
        [commit(A, message=":000000 100644 0 1 A\nfile"), commit(B, message=f"\n{A}")],
    ),
    (header(A, message=""), [commit(A, message="")]),
]


@pytest.mark.parametrize(("log", "commits"), LOGS)
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_log_is_read_from_chunks_of_any_size(log: str, commits: list[GitCommit], size: int) -> None:
    data = log.encode()
    assert list(parse_log(data[start : start + size] for start in range(0, len(data), size))) == commits


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ("0", "1970-01-01T00:00:00+00:00"),
        ("-1", "1969-12-31T23:59:59+00:00"),
        ("1600000000", "2020-09-13T12:26:40+00:00"),
        ("", "1970-01-01T00:00:00+00:00"),
        ("99999999999999999999", "9999-12-31T23:59:59+00:00"),
        ("-99999999999999999999", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_a_date_is_one_that_a_timestamp_can_be(seconds: str, expected: str) -> None:
    (only,) = parse_log([header(A, seconds=seconds).encode()])
    assert only.committed.isoformat() == expected


def test_bytes_that_are_not_utf_8_are_replaced_but_paths_stay_apart() -> None:
    log = header(A).encode().replace(b"\0N\0", b"\0J\xf6rg\0") + b"\n:1 1 1 1 M\0\xff\0:1 1 1 1 M\0\xfe\0"
    (only,) = parse_log([log])
    assert only.author_name == "J\ufffdrg"
    assert [change.filename for change in only.changes] == ["\\xff", "\\xfe"]


@pytest.mark.parametrize(
    ("chunks", "pieces"),
    [
        ([], []),
        ([b"a"], [b"a"]),
        ([b"a\n"], [b"a"]),
        ([b"a\n\nb"], [b"a", b"", b"b"]),
        ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
    ],
)
def test_a_stream_is_split(chunks: list[bytes], pieces: list[bytes]) -> None:
    assert list(split_stream(chunks, b"\n", 100)) == pieces


@pytest.mark.needs("time")
def test_a_piece_over_the_limit_is_not_collected() -> None:
    chunks = (b"x" * 1000 for _ in range(1_000_000))
    first, second = split_stream([*(next(chunks) for _ in range(3)), b"end\nnext"], b"\n", 2500)
    assert len(first) < 2500 + 1000
    assert second == b"next"
    (only,) = split_stream(chunks, b"\n", 5000)  # 1 GB in all
    assert len(only) <= 5000
