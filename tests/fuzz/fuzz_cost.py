"""A search for the request that costs most: ``make fuzz TARGET=cost``.

Requests for every RPC of ScmService in every content type, as long as the default limits allow, are made of pieces that
have cost much somewhere, and those that cost most are changed further. Each runs in a process of its own, with git, so
that its CPU seconds and the peak of its memory are its own. It ends with 1 when one is over the goals.

Its options are some of libFuzzer's: ``-max_total_time=600``, ``-seed=1``.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import logging
import os
import random
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask import Flask
from google.protobuf import json_format
from google.protobuf.message import Message

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, Repository, db
from tests.grpcweb import JSON, PROTO, TEXT_PROTO, frame
from tests.scm.support import SERVICE, GitRepository, Tenant, add_mapping, add_tenant, build_history, make_app

GOAL_SECONDS = 2.0
GOAL_BYTES = 64 * 2**20
LONGEST = 4 * 2**20
KEPT = 6

METHODS = {method.name: method for method in scm_pb2.DESCRIPTOR.services_by_name["ScmService"].methods}
# What texts are made of: parts of paths, of identifiers, of other codecs and of patterns.
UNITS = [
    *(
        "a",
        "/",
        "\\",
        "a/",
        "a\\",
        "../",
        "./",
        "app:///",
        "//",
        "C:\\",
        "k\\a\\",
        "src/app/",
        "x.py",
        ".py",
        "file.txt/",
        ".",
    ),
    *(
        "site-packages/",
        "node_modules/",
        "@v1",
        "pkg/mod/",
        "vendor/a/b/",
        "gems/a-1/",
        "go/src/",
        ".zip/",
        ".egg/",
        "lib/",
    ),
    *("\0", "\n", "ü", "😈", '"', "%", "_", "'", "\x1b[", "at ", "|", "{", "[", ",", "<", "-1", "0", "é́"),
]
ENDS = ["", "x.py", "/x.py", "\\src\\app\\x.py", ".go", "/a.rb", ".php", ".java", "é.py"]
COUNTS = [0, 1, 2, 99, 100, 101, 200, 201, 1000, 1001, 30_000, 249_000, 300_000, 2_000_000]
LENGTHS = [0, 1, 10, 100, 255, 256, 512, 2048, 4095, 4096, 4097, 2**16, 2**20, 4 * 10**6]
RAW = {
    "+proto": [
        *(b"\x2a\x00", b"\x1a\x00", b"\x22\x00", b"\x08\x01", b"\x7a\x00", b"\x73\x74", b"\xfa\x01\x00", b"\x1a\x01a"),
        *(
            b"\x2a\x02\x0a\x00",
            b"\x2a\x04\x0a\x02a/",
            b"\x2a\x05\x0a\x01a\x12\x00",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
    ],
    "+json": [
        *(
            b"{},",
            b"[],",
            b'"",',
            b'{"a":0},',
            b"1.5,",
            b"[",
            b'{"a":',
            b'"\\n",',
            b"0.1e1,",
            b'"\\ud83d\\ude00",',
            b'"abcdef",',
        ),
        *(
            b'{"path":"a"},',
            b'{"filepath":"a","lineNumber":1},',
            b"\\n",
            b" ",
            b"9",
            b'\\"',
            b"{",
            b'"',
            b'{"a":1,"a":1},',
        ),
        *(b'{"path":null},', b'{"path":7},', b"0.1", b"\xf0\x9f\x98\x80"),
    ],
}
HEADS = {
    "+proto": [(b"", b"")],
    "+json": [
        *(
            (b'{"frames":[', b"{}]}"),
            (b'{"x":[', b"0]}"),
            (b'{"metadata":{"a":', b"0}}"),
            (b'{"stacktracePaths":[', b'""]}'),
        ),
        *(
            (b'{"lines":[', b"{}]}"),
            (b'{"x":"', b'"}'),
            (b'{"x":1', b"}"),
            (b'{"title":"', b'"}'),
            (b'{"query":"', b'",7}'),
        ),
        *((b'{"frames":[', b'{"path":7}]}'), (b'{"stacktracePaths":[', b"7]}")),
    ],
}
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


@dataclass(frozen=True)
class Candidate:
    """A request, as it is made."""

    method: str
    content_type: str
    unit: str
    end: str
    count: int
    length: int
    distinct: bool
    """No two texts are the same."""
    raw: tuple[bytes, bytes, bytes] | None
    """Head, middle and tail of a payload that is no message of the method; the middle again and again."""
    encoding: str
    pieces: bool
    """Base64 in pieces of four characters, each padded."""

    def __str__(self) -> str:
        if self.raw is not None:
            made = f"{self.raw[0][:80]!r}, {self.raw[1]!r} again and again, {self.raw[2]!r}: {self.length} bytes"
        else:
            distinct = " that differ" * self.distinct
            made = f"{self.count} items{distinct} of {self.length} characters: {self.unit!r}, and {self.end!r} last"
        return f"{self.method}, {self.content_type}{', ' * bool(self.encoding)}{self.encoding}: {made}"


def _texts(
    method: str, content_type: str, unit: str, end: str, count: int, length: int, *, pieces: bool = False
) -> Candidate:
    return Candidate(method, content_type, unit, end, count, length, True, None, "", pieces)


# With a last value of the wrong kind all of them are read again.
MANY_KEYS = b'{"metadata":{' + b"".join(b'"%06d":"a",' % key for key in range(124_900))

# What has cost most so far.
KNOWN = [
    _texts("DeriveCodeMappings", PROTO, "a\\", "\\src\\app\\x.py", 1000, 4096),
    _texts("DeriveCodeMappings", PROTO, "a/", "/src/app/x.py", 1000, 4096),
    _texts("DeriveCodeMappings", PROTO, "a.b@v1", ".go", 1000, 4096),
    _texts("DeriveCodeMappings", PROTO, "node_modules/", "x.js", 1000, 4096),
    _texts("DeriveCodeMappings", PROTO, "a/", "/src/app/x.py", 1000, 4095),
    _texts("DeriveCodeMappings", JSON, "../", "x.py", 1000, 4000),
    _texts("FindSuspectCommits", PROTO, "a/", "/src/app/x.py", 1000, 4096),
    _texts("FindSuspectCommits", PROTO, "a/", "/src/app/x.py", 2000, 2000),
    # As stack traces: lines that are no frames, and that are.
    _texts("FindSuspectCommits", PROTO, f"Caused by: {'a' * 40}\n", "", 0, 250_000),
    _texts("FindSuspectCommits", PROTO, f"  at f (/{'a' * 40}.js:1:2)\n", "", 0, 250_000),
    # Each a file that there is.
    _texts("FindSuspectCommits", PROTO, "a", "x.py", 2000, 0),
    _texts("CreateExternalIssue", JSON, "a", "", 124_000, 6),
    _texts("CreateExternalIssue", PROTO, "a", "", 249_000, 6),
    _texts("BatchGetCommitContext", PROTO, "a/", "x.py", 200, 4096),
    # Each a file that there is.
    _texts("BatchGetCommitContext", PROTO, "a", "x.py", 200, 0),
    _texts("ListRepositories", TEXT_PROTO, "a", "", 0, 2**20, pieces=True),
    *(
        Candidate(method, PROTO, "", "", 0, LONGEST, False, (b"", unit, b""), "", False)
        for method in ("DeriveCodeMappings", "BatchGetCommitContext", "CreateExternalIssue")
        for unit in (b"\x2a\x00", b"\x1a\x00", b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    ),
    Candidate("CreateExternalIssue", JSON, "", "", 0, 0, False, (MANY_KEYS, b" ", b'"a":7}}'), "", False),
    Candidate("ListExternalIssues", PROTO, "", "", 0, 0, False, None, "", False),
    Candidate("ListExternalIssues", JSON, "", "", 0, 0, False, None, "", False),
]


@dataclass(frozen=True)
class Cost:
    """The cost of a request."""

    seconds: float
    bytes: int
    """Of memory, above those of the request."""
    code: str

    @property
    def score(self) -> float:
        """1 for as much as is allowed."""
        return max(self.seconds / GOAL_SECONDS, self.bytes / GOAL_BYTES)


def candidate(choose: random.Random) -> Candidate:
    codec = choose.choice(list(RAW))
    content_type = f"application/grpc-web{choose.choice(['', '', '-text'])}{codec}"
    head, tail = choose.choice(HEADS[codec])
    raw = (head, choose.choice(RAW[codec]), tail) if choose.random() < 0.4 else None
    unit = "".join(choose.choice(UNITS) for _ in range(choose.choice([1, 1, 2, 3])))
    return Candidate(
        choose.choice(list(METHODS)),
        content_type,
        unit,
        choose.choice(ENDS),
        choose.choice(COUNTS),
        choose.choice([LONGEST, LONGEST // 2, LONGEST // 8] if raw else LENGTHS),
        choose.random() < 0.6,
        raw,
        choose.choice([*ENCODINGS, ""]),
        choose.random() < 0.1,
    )


def changed(before: Candidate, choose: random.Random) -> Candidate:
    """A candidate that differs in one or two choices."""
    other = candidate(choose)
    names = choose.sample(
        ["method", "unit", "end", "count", "length", "distinct", "encoding", "pieces", "content_type"], 2
    )
    if before.raw is not None:
        names = [choose.choice(["method", "encoding", "raw", "length"])]
        if names == ["raw"] or names == ["length"]:
            return replace(before, method=other.method) if other.raw is None else replace(other, method=before.method)
    made = replace(before, **{name: getattr(other, name) for name in names if name != "content_type"})
    if "content_type" in names and before.raw is None:
        made = replace(made, content_type=other.content_type)
    return made


class Target:
    """An app with a tenant, and requests for it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "body"
        self.app = make_app(f"sqlite:///{folder}/cost.sqlite")
        told, _ = self._in_child(lambda: _prepare(self.app, folder))
        self.sha, *ids = told.split()
        self.tenant = Tenant(*map(int, ids))
        # What is loaded at the first call belongs to none.
        self._call(KNOWN[0], frame(b""))
        with self.app.app_context():
            db.engine.dispose()

    def body(self, made: Candidate) -> bytes:
        codec = "+json" if made.content_type.endswith("json") else "+proto"
        if made.raw is not None:
            head, unit, tail = made.raw
            payload = head + unit * ((made.length - len(head) - len(tail)) // len(unit)) + tail
        else:
            message = self._message(made)
            payload = (
                json_format.MessageToJson(message, indent=None).encode()
                if codec == "+json"
                else message.SerializeToString()
            )
        if made.encoding and len(payload) <= LONGEST:
            payload, flags = ENCODINGS[made.encoding](payload), 1
        else:
            flags = 0
        body = frame(payload, flags)
        if "-text" not in made.content_type:
            return body
        if made.pieces:
            return b"".join(base64.b64encode(body[start : start + 1]) for start in range(min(len(body), 2**20)))
        return base64.b64encode(body)

    def _message(self, made: Candidate) -> Message:
        message_class = getattr(scm_pb2, METHODS[made.method].input_type.name)
        message: Message = message_class()
        room = LONGEST - 1000
        for field in message_class.DESCRIPTOR.fields:
            value: Any = self._number(made.method, field.name)
            if field.name == "stacktrace" and made.count:
                continue  # in place of frames
            if field.type == field.TYPE_STRING and not _is_repeated(field):
                setattr(message, field.name, self.sha if field.name == "commit_sha" else _text(made, 0)[:room])
                room -= min(room, made.length)
            elif not _is_repeated(field) and field.type in {field.TYPE_INT64, field.TYPE_INT32}:
                setattr(message, field.name, value)
        # Of two lists the first or the last: together they may have no more items than one.
        lists = [field.name for field in message_class.DESCRIPTOR.fields if _is_repeated(field)]
        for name in lists[-1:] if made.length % 2 else lists[:1]:
            self._fill(message, name, made, room)
        return message

    def _number(self, method: str, name: str) -> int:
        known = {
            "organization_id": "organization",
            "project_id": "project",
            "repository_id": "repository",
            "group_id": "group",
        }
        known |= {"integration_id": "integration", "external_issue_id": "issue", "code_mapping_id": "mapping"}
        if name == "group_id" and method == "ListExternalIssues":
            return 0
        return getattr(self.tenant, known[name]) if name in known else 1 if name == "line_number" else 1000

    def _fill(self, message: Any, name: str, made: Candidate, room: int) -> None:
        items = getattr(message, name)
        for number in range(made.count):
            text = _text(made, number)
            size = len(text.encode()) + 8
            if size > room:
                break
            room -= size
            if name == "metadata":
                items[text[:256] or str(number)] = text[256:]
            elif name == "frames":
                items.add(path=text, module=made.unit, abs_path="", platform="", line=number % 50 + 1)
            elif name == "release_commits":
                items.add(repository_id=number, commit_sha=self.sha)
            elif name == "lines":
                items.add(filepath=text, line_number=number + 1)
            else:
                items.append(text)

    def cost(self, made: Candidate) -> Cost:
        """Make a request, and serve it, each in a process of its own: this one keeps no memory that they could use."""
        self._in_child(lambda: str(self._file.write_bytes(self.body(made))))
        told, used = self._in_child(lambda: self._serve(made))
        code, _, before = told.partition(" ")
        return Cost(used.ru_utime + used.ru_stime, max(0, used.ru_maxrss * 1024 - int(before or 0)), code)

    @staticmethod
    def _in_child(function: Callable[[], str]) -> tuple[str, resource.struct_rusage]:
        end, start = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                told = function()
            except BaseException as error:
                told = f"{type(error).__name__} 0"
            os.write(start, told.encode())
            os._exit(0)
        os.close(start)
        told = os.read(end, 200).decode()
        os.close(end)
        _, _, used = os.wait4(child, 0)
        return told, used

    def _serve(self, made: Candidate) -> str:
        body = self._file.read_bytes()
        before = _resident()
        return f"{self._call(made, body)} {before}"

    def _call(self, made: Candidate, body: bytes) -> str:
        headers = {"grpc-encoding": made.encoding} if made.encoding else {}
        client = self.app.test_client()
        response = client.post(SERVICE + made.method, data=body, content_type=made.content_type, headers=headers)
        response.get_data()
        return str(response.headers.get("grpc-status", "0?"))


def _text(made: Candidate, number: int) -> str:
    mark = f"{number:x}/" if made.distinct else ""
    middle = max(0, made.length - len(mark) - len(made.end))
    return mark + (made.unit * (middle // len(made.unit or "a") + 1))[:middle] + made.end


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _prepare(app: Flask, folder: Path) -> str:
    """Store as much as callers can; returns the id of a commit, and those of a tenant."""
    history = GitRepository(folder / "history")
    build_history(history)
    for name in ("src/app/x.py", "a/x.py", "lib/a.rb", "src/a.go", *(f"{number:x}/x.py" for number in range(300))):
        history.write(name, "line\n" * 50)
    sha = history.commit()
    with app.app_context():
        db.create_all()
        tenant = add_mapping(add_tenant("ours"))
        db.session.get_one(Repository, tenant.repository).mirror_path = str(history.path / ".git")
        belonging = {"organization_id": tenant.organization}
        db.session.add_all(
            Repository(name=f"r{number}", external_id=str(number), **belonging) for number in range(2000)
        )
        for number in range(40):
            texts = {"key": str(number), "title": "t" * 2**16, "description": "d" * (2**20 if number % 2 else 1000)}
            metadata = {str(key): "v" * 500 for key in range(100)}
            ids = {"integration_id": tenant.integration, **belonging}
            db.session.add(ExternalIssue(metadata_=metadata, **texts, **ids))
        db.session.commit()
    return " ".join(map(str, (sha, *dataclasses.astuple(tenant))))


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in sys.argv[1:])
    choose = random.Random(int(options.get("seed", 0)) or time.time_ns())
    stop = time.monotonic() + float(options.get("max_total_time", 60))
    logging.disable()
    best: dict[tuple[str, str], list[tuple[Cost, Candidate]]] = {}
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        while time.monotonic() < stop:
            found = [pair for pairs in best.values() for pair in pairs]
            made = KNOWN[count] if count < len(KNOWN) else candidate(choose)
            if count >= len(KNOWN) and choose.random() < 0.5:
                made = changed(choose.choice(sorted(found, key=lambda pair: -pair[0].score)[:60])[1], choose)
            cost = target.cost(made)
            count += 1
            kept = best.setdefault((made.method, made.content_type), [])
            if not kept or cost.score > max(pair[0].score for pair in kept):
                write(f"{cost.seconds:6.2f} s {cost.bytes / 2**20:7.1f} MiB  {cost.code:>3}  {made}")
            kept.append((cost, made))
            kept.sort(key=lambda pair: -pair[0].score)
            del kept[KEPT:]
    worst = sorted((pair for pairs in best.values() for pair in pairs), key=lambda pair: -pair[0].score)[:20]
    write(f"\n{count} requests; the worst of all:")
    for cost, made in worst:
        write(f"{cost.seconds:6.2f} s {cost.bytes / 2**20:7.1f} MiB  {cost.code:>3}  {made}")
    is_over = [cost for cost, _ in worst if cost.score > 1]
    write(f"{len(is_over)} are over {GOAL_SECONDS:g} s of CPU or {GOAL_BYTES // 2**20} MiB of memory")
    return int(bool(is_over))


if __name__ == "__main__":
    sys.exit(main())
