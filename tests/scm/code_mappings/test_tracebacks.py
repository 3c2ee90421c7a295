"""Stack traces as languages print them: tracebacks/*.txt are real ones, with folders renamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.code_mappings.tracebacks import TracebackFrame, parse_traceback
from tests.tables import check_rows

FOLDER = Path(__file__).with_name("tracebacks")

EXPECTED: dict[str, list[str]] = json.loads((FOLDER / "expected.json").read_text())
PLATFORMS = {
    "asan": "native", "ava": "javascript", "bun": "javascript", "clojure": "java", "elixir": "elixir", "gdb": "native",
    "go": "go", "ipython": "python", "java": "java", "jest": "javascript", "jstack": "java", "loguru": "python",
    "mono": "csharp", "node": "javascript", "php": "php", "py": "python", "pytest": "python", "python": "python",
    "rich": "python", "ruby": "ruby", "rust": "rust", "stackprinter": "python", "structlog": "python",
    "tape": "javascript", "vitest": "javascript",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_real_traces(name: str) -> None:
    frames = list(parse_traceback((FOLDER / f"{name}.txt").read_text()))
    assert [str(frame) for frame in frames if not frame.not_ours] == EXPECTED[name]
    assert {frame.frame.platform for frame in frames} == {PLATFORMS[name.partition("_")[0]]}


@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("python", 3, "Python's own library"),
        ("java", 11, "the library of the language"),
        ("node", 2, "without a file name"),
        ("node", 5, "Node's own library"),
        ("go", 3, "Go's own library"),
        ("go_trimpath", 3, "Go's own library"),
    ],
)
def test_frames_of_the_runtime_have_a_reason(name: str, number: int, reason: str) -> None:
    frames = parse_traceback((FOLDER / f"{name}.txt").read_text())
    reasons = [frame.not_ours for frame in frames if frame.not_ours]
    assert reasons.count(reason) == number


# A line, its path or "module file", line and function, and the reason why it is not ours.
LINES = [
    ('  File "/a b/ü.py", line 1, in <module>', "/a b/ü.py", 1, "<module>", ""),
    ('  File "x.py", line 7', "x.py", 7, "", ""),
    ('web-1  |   File "x.py", line 7, in f', "x.py", 7, "f", ""),
    ('  File "<frozen importlib._bootstrap>", line 1, in _f', "<frozen importlib._bootstrap>", 1, "_f", ""),
    ('  File "C:\\\\shop\\cart.py", line 7, in f', "C:\\\\shop\\cart.py", 7, "f", ""),
    ('  File "/v/lib/python3.11/site-packages/f/a.py", line 7, in f', "/v/lib/python3.11/site-packages/f/a.py", 7, "f",
     ""),
    ('  File "C:\\Python311\\Lib\\json\\decoder.py", line 7, in f', "C:\\Python311\\Lib\\json\\decoder.py", 7, "f",
     "Python's own library"),
    ("file /srv/test_x.py, line 7", "/srv/test_x.py", 7, "", ""),
    ("\tat com.a.B.c(B.java:1)", "com.a.B B.java", 1, "c", ""),
    ("\tat app//com.a.B.c(B.java:1)", "com.a.B B.java", 1, "c", ""),
    ("\tat shop@2.1/com.a.B.c(B.java:1)", "com.a.B B.java", 1, "c", ""),
    ("\tat app/shop@2.1/com.a.B.c(B.java:1)", "com.a.B B.java", 1, "c", ""),
    ("\tat com.a.B.<init>(B.java:1) ~[shop.jar:2.1]", "com.a.B B.java", 1, "<init>", ""),
    ("\tat com.a.B.it works(BTest.kt:9)", "com.a.B BTest.kt", 9, "it works", ""),
    ("\tat com.a.B.c(B.java)", "com.a.B B.java", 0, "c", ""),
    ("\tat com.a.B$$Lambda/0x00007f.run(Unknown Source)", "com.a.B$$Lambda/0x00007f Unknown Source", 0, "run",
     "without a file name"),
    ("\tat com.a.B.c(Native Method)", "com.a.B Native Method", 0, "c", "without a file name"),
    ("\tat java.base@17/java.lang.Thread.run(Thread.java:8)", "java.lang.Thread Thread.java", 8, "run",
     "the library of the language"),
    ("\tat java.lang.Thread.run(Thread.java:8)", "java.lang.Thread Thread.java", 8, "run",
     "the library of the language"),
    ("    at f (/srv/x.js:1:2)", "/srv/x.js", 1, "f", ""),
    ("    at new Cart [as x] (/srv/x.js:1:2)", "/srv/x.js", 1, "new Cart [as x]", ""),
    ("    at async Promise.all (index 0)", "index 0", 0, "Promise.all", "without a file name"),
    ("    at /srv/a (b)/x.js:1:2", "/srv/a (b)/x.js", 1, "", ""),
    ("    at f (C:\\srv\\x.js:1:2)", "C:\\srv\\x.js", 1, "f", ""),
    ("    at f (file:///C:/srv/a%20b.mjs:1:2)", "C:/srv/a b.mjs", 1, "f", ""),
    ("    at f (webpack-internal:///./src/x.ts?1234:1:2)", "./src/x.ts", 1, "f", ""),
    ("    at f (webpack://shop/./src/x.ts:1:2)", "./src/x.ts", 1, "f", ""),
    ("    at f (https://cdn.example/x.js:1:2)", "https://cdn.example/x.js", 1, "f", ""),
    ("    at f (app:///x.js:1:2)", "app:///x.js", 1, "f", ""),
    ("    at f (/srv/node_modules/express/x.js:1:2)", "/srv/node_modules/express/x.js", 1, "f", ""),
    ("    at Module._load (internal/modules/cjs/loader.js:1:2)", "internal/modules/cjs/loader.js", 1, "Module._load",
     "Node's own library"),
    ("f@http://localhost/x.js:1:2", "http://localhost/x.js", 1, "f", ""),
    ("module code@http://localhost/x.js:1:2", "http://localhost/x.js", 1, "module code", ""),
    ("@file:///srv/x.js:1:2", "/srv/x.js", 1, "", ""),
    ("\t/go/pkg/mod/example.com/dep@v1.2.3/x.go:1 +0x1", "/go/pkg/mod/example.com/dep@v1.2.3/x.go", 1, "", ""),
    ("\texample.com/dep@v1.2.3/x.go:1 +0x1", "example.com/dep@v1.2.3/x.go", 1, "", ""),
    ("        /srv/main.go:1", "/srv/main.go", 1, "", ""),
    ("\tat com.a.B.c(B.java:1)[shop.jar:1.2]", "com.a.B B.java", 1, "c", ""),
    ("  at map @ com.a.B$.c(B.scala:1)", "com.a.B$ B.scala", 1, "c", ""),
    ("\tshop.Total:/srv/main.go:1", "/srv/main.go", 1, "shop.Total", ""),
    ("-e:1:in `<main>'", "-e", 1, "<main>", "without a file name"),
    ("PHP Parse error:  syntax error, unexpected '}' in /srv/x.php on line 1", "/srv/x.php", 1, "", ""),
    ("     (src/X.php:1)", "src/X.php", 1, "", ""),
    ("Fatal error: x: file shop/x.swift, line 1", "shop/x.swift", 1, "", ""),
    ("    frame #1: 0x0001 shop`main at x.swift:1:2 [opt]", "x.swift", 1, "main", ""),
    ("3  shop  0x0001 -[Cart total] + 24 (Cart.m:1)", "Cart.m", 1, "-[Cart total] + 24", ""),
    ("#6  f (http://localhost:1234/packages/shop/x.dart:1:2)", "package:shop/x.dart", 1, "f", ""),
    ("  Cart Cart:file:///srv/x.dart:1:2", "/srv/x.dart", 1, "Cart", ""),
    ('{badarith,[{shop,sum,1,[{file,"src/shop.erl"},{line,1}]},', "src/shop.erl", 1, "shop,sum,1", ""),
    ("#0  0x0001 in a::f(int) (n=3) at /srv/x.cpp:1", "/srv/x.cpp", 1, "a::f(int)", ""),
    (" 0# f() at /srv/x.cpp:1", "/srv/x.cpp", 1, "f()", ""),
    ("/srv/x.cpp:1:5: runtime error: signed integer overflow", "/srv/x.cpp", 1, "", ""),
    ("shop: src/x.c:1: main: Assertion `0' failed.", "src/x.c", 1, "main", ""),
    ("   bij A.B() in C:\\x.cs:regel 1", "C:\\x.cs", 1, "A.B()", ""),
    ("   vid A.B() i C:\\x.cs:rad 1", "C:\\x.cs", 1, "A.B()", ""),
    ("   kohteessa A.B() tiedostossa C:\\x.cs:rivi 1", "C:\\x.cs", 1, "A.B()", ""),
    ("   於 A.B() 於 C:\\x.cs: 行 1", "C:\\x.cs", 1, "A.B()", ""),
    ("   a következő helyen: A.B() hely: C:\\x.cs, sor: 1", "C:\\x.cs", 1, "A.B()", ""),
    ("\t/srv/asm_amd64.s:1 +0x1", "/srv/asm_amd64.s", 1, "", ""),
]  # fmt: skip


def test_lines() -> None:
    def check(line: str, place: str, number: int, function: str, reason: str) -> None:
        [frame] = parse_traceback(f"{line}\n")
        found = frame.frame.path or f"{frame.frame.module} {frame.frame.abs_path}"
        assert (found, frame.line, frame.function, frame.not_ours) == (place, number, function, reason)

    check_rows(check, LINES)


@pytest.mark.parametrize(
    "line",
    [
        "", "Traceback (most recent call last):", "\t... 5 more", "Caused by: java.lang.Error: at a.B", "goroutine 1:",
        "ValueError: File not found", "meet me at noon (12:30)", "user@example.com: 1", "main.main()", "at", "x.go:1",
    ],
)  # fmt: skip
def test_other_lines_are_passed_over(line: str) -> None:
    assert list(parse_traceback(line)) == []


def test_a_frame_is_written_for_people() -> None:
    frames = [str(frame) for frame in parse_traceback("at a.B.c(B.kt)\n    at x.js:1:2\n")]
    assert frames == ["a.B (B.kt) in c", "x.js:1"]
    assert isinstance(next(parse_traceback("at a.B.c(B.kt)")), TracebackFrame)
