"""Texts with stack traces inside: strings of JSON, quoted values, cut and joined lines; and texts without any."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flask_grpcweb_scm.scm.code_mappings.tracebacks import parse_traceback

TRACES = {
    "Python": (
        'Traceback (most recent call last):\n  File "/app/pier/berth.py", line 7, in run\n    a / b\nKeyError: "x"',
        ["/app/pier/berth.py:7 in run"],
    ),
    "Java": (
        "java.lang.IllegalStateException: x\n\tat org.harbor.Berth.run(Berth.java:8)\n\tat org.harbor.B.go(B.java:9)",
        ["org.harbor.Berth (Berth.java):8 in run", "org.harbor.B (B.java):9 in go"],
    ),
    "Node": (
        "TypeError: x\n    at run (/app/src/berth.js:9:5)\n    at /app/src/b.js:10:5",
        ["/app/src/berth.js:9 in run", "/app/src/b.js:10"],
    ),
    "Go": (
        "goroutine 1 [running]:\nmain.run()\n\t/app/pier/berth.go:11 +0x1d\nmain.main()\n\t/app/main.go:8 +0x1",
        ["/app/pier/berth.go:11 in main.run", "/app/main.go:8 in main.main"],
    ),
}


def lines(write: Callable[[str], str], separator: str = "\n") -> Callable[[str], str]:
    return lambda text: separator.join(write(line) for line in text.split("\n"))


def in_json(text: str) -> str:
    return json.dumps({"level": "error", "msg": text, "who": "ü"})


WRAPPED: dict[str, Callable[[str], str]] = {
    "in a string": in_json,
    "in a string, behind a prefix": lambda text: f"web-1  | {in_json(text)}",
    "in a string, indented": lambda text: json.dumps({"error": {"stack": text}}, indent=2),
    "in a string in a string": lambda text: json.dumps({"log": in_json(text) + "\n", "stream": "stderr"}),
    "in a string, three deep": lambda text: json.dumps({"a": json.dumps({"log": in_json(text)})}),
    "with escaped slashes": lambda text: in_json(text).replace("/", "\\/"),
    "JSON that is cut off": lambda text: f'{{"msg": {json.dumps(text)}, "host": "we',
    "an object for each line": lines(lambda line: json.dumps({"log": line + "\n", "stream": "stderr", "time": "1"})),
    "a string for each line": lambda text: json.dumps({"stack": text.split("\n")}, indent=2),
    "strings in one line": lambda text: json.dumps({"stack": text.split("\n")}),
    "logfmt": lambda text: f"time=2025-01-02T03:04:05Z level=error msg={json.dumps(text)} user=kim",
    "repr() of a dict": lambda text: repr({"error": text, "n": 1}),
    "escapes without quotes": lambda text: "ERROR " + text.replace("\n", "\\n").replace("\t", "\\t"),
    "rsyslog": lambda text: "Jan 02 03:04:05 web1 app: " + text.replace("\n", "#012").replace("\t", "#011"),
    "HTML": lambda text: f"<pre>{text.replace('<', '&lt;').replace(chr(34), '&quot;')}</pre>",
    "CSV": lambda text: f'2025-01-02,ERROR,"{text.replace(chr(34), chr(34) * 2)}",web1',
    "an attribute of XML": lambda text: f'<e m="{text.replace(chr(34), "&quot;").replace(chr(10), "&#10;")}"/>',
    "an element of XML": lambda text: f"<failure><![CDATA[x\n{text}]]></failure>",
    "HTML with line breaks": lambda text: text.replace("\n", "<br/>\n").replace("<module>", "&lt;module&gt;"),
    "a list of YAML": lines(lambda line: "  - '" + line.replace("'", "''") + "'"),
    "a block of YAML": lambda text: "stack: |\n" + lines(lambda line: f"  {line}")(text),
    "lines that CRI cut": lines(lambda line: f"1Z stderr P {line[:12]}\n1Z stderr F {line[12:]}"),
    "Windows' line ends": lambda text: text.replace("\n", "\r\n"),
    "carriage returns alone": lambda text: text.replace("\n", "\r"),
    "without indentation": lines(str.strip),
    "two containers": lines(lambda line: f"web-1  | {line}\napi-1  | GET /berths 200"),
}


@pytest.mark.parametrize("language", TRACES)
def test_traces_inside_of_texts(language: str) -> None:
    text, expected = TRACES[language]
    found = {name: [str(frame) for frame in parse_traceback(wrap(text))] for name, wrap in WRAPPED.items()}
    assert {name: frames for name, frames in found.items() if frames != expected} == {}


@pytest.mark.parametrize("language", TRACES)
def test_containers_whose_lines_alternate_keep_their_functions(language: str) -> None:
    text, expected = TRACES[language]
    mixed = lines(lambda line: f"web-1  | {line}\nweb-2  | {line.replace('/app', '/srv').replace('harbor', 'lumen')}")
    frames = [str(frame) for frame in parse_traceback(mixed(text))]
    assert frames[::2] == expected
    assert frames[1::2] == [frame.replace("/app", "/srv").replace("harbor", "lumen") for frame in expected]


@pytest.mark.parametrize("separator", [" ", "| ", "; "])
@pytest.mark.parametrize("language", ["Java", "Node"])
def test_lines_that_were_joined(language: str, separator: str) -> None:
    text, expected = TRACES[language]
    joined = lines(str.strip, separator)(text)
    assert [str(frame) for frame in parse_traceback(joined)] == expected


FRAME_OBJECTS = [
    ({"filename": "pier/berth.py", "abs_path": "/app/pier/berth.py", "lineno": 7, "function": "run"},
     ("pier/berth.py", "/app/pier/berth.py", "python", 7, "run")),
    ({"module": "org.harbor.Berth", "filename": "Berth.java", "lineno": 8, "function": "run"},
     ("", "Berth.java", "java", 8, "run")),
    ({"className": "org.harbor.Berth", "fileName": "Berth.kt", "lineNumber": 8, "methodName": "run"},
     ("", "Berth.kt", "java", 8, "run")),
    ({"path": "github.com/harbor/tide/main.go", "line": 12, "label": "main"},
     ("github.com/harbor/tide/main.go", "", "go", 12, "main")),
    ({"source": "main.go", "line": "12", "func": "main"}, ("main.go", "", "go", 12, "main")),
    ({"file": "/app/berth.rb", "number": "7", "method": "run"}, ("/app/berth.rb", "", "ruby", 7, "run")),
    ({"abs_path": "/app/berth.py", "filename": "berth.py", "line": {"number": 7}, "function": "run"},
     ("berth.py", "/app/berth.py", "python", 7, "run")),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), FRAME_OBJECTS)
def test_objects_in_lists_of_frames(fields: dict[str, object], expected: tuple[str, str, str, int, str]) -> None:
    text = json.dumps({"exception": {"values": [{"stacktrace": {"frames": [fields, {"lineno": 1}]}}]}})
    [read] = parse_traceback(text)
    frame = read.frame
    assert (frame.path, frame.abs_path, frame.platform, read.line, read.function) == expected
    assert list(parse_traceback(json.dumps([fields]))) == []  # where a logger was called


LISTS = [
    ("stackTrace", ["com.a.B.run(B.java:8)", "com.a.C.go(C.kt:9)"],
     ["com.a.B (B.java):8 in run", "com.a.C (C.kt):9 in go"]),
    ("parsedStack", [{"method": "A.B", "line": 7, "fileName": "/src/B.cs"}], ["/src/B.cs:7 in A.B"]),
    ("extendedStackTrace", [{"class": "com.a.B", "method": "run", "file": "B.java", "line": 8}],
     ["com.a.B (B.java):8 in run"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "expected"), LISTS, ids=[name for name, _, _ in LISTS])
def test_lists_of_frames(name: str, values: list[object], expected: list[str]) -> None:
    assert [str(frame) for frame in parse_traceback(json.dumps({"error": {name: values}}))] == expected


JOINED = [
    ("System.X: y at A.B() in C:\\a.cs:line 3 at A.C() in C:\\b.cs:line 4",
     ["C:\\a.cs:3 in A.B()", "C:\\b.cs:4 in A.C()"]),
    ("x in /a.php:3 Stack trace: #0 /b.php(4): f() #1 /c.php(5): g() #2 {main} thrown in /a.php on line 3",
     ["/b.php:4 in f()", "/c.php:5 in g()"]),
    ("x (KeyError)\\na.rb:3:in `f'\\nb.rb:4:in `g'", ["a.rb:3 in f", "b.rb:4 in g"]),
    ("at a.B.c(B.java:3)<br/>at a.C.d(C.java:4)<br/>", ["a.B (B.java):3 in c", "a.C (C.java):4 in d"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), JOINED)
def test_lines_that_were_joined_in_other_languages(text: str, expected: list[str]) -> None:
    assert [str(frame) for frame in parse_traceback(text)] == expected


NO_FRAMES = [
    "12# run at 10.0.0.1:80",
    "1,src/a.js,3",
    "app.log:12:GET /src/a.js:3:4 HTTP/1.1",
    'src/main.go:12:	x := f("/a/b.go:3")',
    "src/a.py-13-    return x",
    "In order to f(x) see /src/A.cs: line 3",
    "#12 [web 3/5] COPY a.py /app/",
    "foo.bar(baz.kt:3), see",
    "2025-01-02,12,3.4,/app/x.py,7",
    '192.0.2.7 - - [02/Jan/2025:03:04:05 +0000] "GET /pier/tasks.py HTTP/1.1" 200 512',
    '192.0.2.7 - - [02/Jan/2025:03:04:05 +0000] "GET /src/berth.js:9:5 HTTP/1.1" 404 0',
    '192.0.2.7 - kim [02/Jan/2025:03:04:05 +0000] "GET /x.js?v=1:2 HTTP/1.1" 200 5 "https://a.example/b.js:1:2" "X"',
    "deliver to kim@harbor.example:25:1 failed",
    "mail from kim@harbor.example:25 rejected",
    "kim@harbor.example:25:1",
    "ssh deploy@web1.harbor.example:22:1",
    "git@github.com:harbor/pier.git",
    "git@github.com:harbor/pier.js:1:2",
    "at 12:30:45 the lock was taken by 10.0.0.7:5432",
    "at 12:30:45",
    "at 10.0.0.7:5432:1",
    "at localhost:3000",
    "at http://localhost:3000",
    "at https://pier.example:8443",
    "Listening at http://0.0.0.0:8000 (12)",
    "[2025-01-02 03:04:05 +0000] [12] [INFO] Listening at: http://0.0.0.0:8000 (12)",
    "  - Local:   http://localhost:3000/",
    "meet me at noon (12:30)",
    "meet me at noon (12:30:45)",
    "at noon (12:30:45)",
    "    at noon (12:30:45)",
    "look at line (12:30:45)",
    'see pier/tasks.py for details, or File "README", line by line',
    "see pier/tasks.py:12 for details",
    "pier/tasks.py:12: DeprecationWarning: old",
    "pier/tasks.py:12: error: Incompatible types  [assignment]",
    "pier/tasks.py:12:5: E501 line too long",
    "pier/tasks.py:12: note: See https://mypy.example",
    "pier/tasks.py:12: warning",
    "pier/tasks.py:12: Started",
    "src/berth.ts(7,9): error TS2304: Cannot find name 'x'.",
    "src/berth.ts:7:9 - error TS2304: Cannot find name 'x'.",
    "src/berth.js:7:9: error",
    "/app/src/berth.js:7:9: Unexpected token",
    "  7:9  error  'x' is not defined  no-undef",
    "./main.go:12:5: undefined: x",
    "    berth_test.go:12: expected 3",
    "# github.com/harbor/tide",
    "vet: ./main.go:12:5: undefined: x",
    "2025/01/02 03:04:05 main.go:12: hello",
    "main.go:12",
    "error[E0308]: mismatched types",
    "  --> src/berth.rs:7:9",
    "src/berth.c:12:5: warning: unused variable 'x' [-Wunused-variable]",
    "In file included from src/berth.h:3,",
    "                 from src/berth.c:1:",
    "src/berth.c: In function 'main':",
    "Berth.cs(12,5): error CS0103: The name 'x' does not exist [/src/Pier.csproj]",
    "[ERROR] /src/main/java/org/harbor/Berth.java:[12,5] cannot find symbol",
    "Berth.java:12: error: cannot find symbol",
    "[INFO] Tests run: 3, Failures: 0 -- in org.harbor.BerthTest",
    "PHP Warning:  Undefined variable $x in /var/www/html/a.php on line 12",
    "PHP Notice:  x in /var/www/html/a.php on line 12",
    "app/models/berth.rb:7: warning: assigned but unused variable - x",
    "app/models/berth.rb:7:5: C: Style/StringLiterals",
    "rspec ./spec/berth_spec.rb:4 # Berth moors",
    'lib/berth.ex:7: warning: variable "x" is unused',
    'warning: variable "x" is unused',
    "  lib/berth.ex:7: Pier.Berth.run/1 is undefined warning",
    "Compiling 3 files (.ex)",
    "INFO 2025-01-02 03:04:05 module tasks.py:12 started",
    "2025-01-02 03:04:05 INFO [tasks.py:12] started",
    "[2025-01-02 03:04:05,678] {taskinstance.py:1851} INFO - started",
    "I0102 03:04:05.678901       1 runtime.go:78] ready",
    '{"caller":"gauge/gauge.go:12","msg":"ready"}',
    '{"level":"info","filename":"tasks.py","lineno":12,"funcName":"bill","msg":"ok"}',
    '{"sourceLocation":{"file":"gauge.go","line":"12","function":"main.read"}}',
    '{"url":"https://pier.example/app.js","status":200}',
    '[{"file":"a.py","line":12},{"file":"b.py","line":13}]',
    "user=kim@harbor.example ip=10.0.0.7:5432",
    "10.0.0.7:5432 -> 10.0.0.8:5433",
    "03:04:05.678 [info] GET /berth.js",
    "at x (",
    "at ()",
    "at  (:)",
    "|at x (",
    "@",
    ":1:2",
    "@:1:2",
    "a@b:1:2",
    "a@b.c:1:2",
    "x@http://a:1:2",
    "panic: x [recovered]",
    "goroutine 1 [running]:",
    "exit status 2",
    "main.main()",
    "created by main.main",
    "#1 {main}",
    "#0 closed by kim",
    "#12 Fix the berth (kim@harbor.example)",
    "#12 fix tasks.py (12): done",
    "Merge pull request #12 from harbor/fix-berth.js",
    "+++ b/src/berth.js",
    "--- a/src/berth.js",
    "@@ -7,9 +7,9 @@ def run():",
    "diff --git a/x.py b/x.py",
    "- at the pier (12)",
    "1. first (a.py:1)",
    "* foo (bar.js)",
    "Error: listen EADDRINUSE: address already in use :::3000",
    "    code: 'EADDRINUSE',",
    "    at: 12",
    'File "README", line 12',
    "File: x.py, line 12",
    "in file x.py on line 12",
    "thread 'main' started",
    "frame #1",
    "0 0x1 in a at b",
    "Thread 0 crashed",
    "--- FAIL: TestX (0.00s)",
    "FAILED tests/test_berths.py::test_moor - KeyError: 'length'",
    "tests/test_berths.py::test_moor PASSED",
    "tests/test_berths.py .F   [100%]",
    "collected 2 items",
    "[pid 12:tid 34]",
    "    def moor(ships):",
    '>       return sum(s["length"] for s in ships)',
    "E       KeyError: 'length'",
    "C:\\new\\table.py",
    "Traceback (most recent call last):",
    "... 12 more",
    "Caused by: java.lang.IllegalStateException: x",
    "Suppressed: java.io.IOException: closed",
    "at least one (1)",
    "at a.b (c)",
    "at System (x)",
    "at the end of in C:line 5",
    "saved in /tmp/x.cs:line of text",
    "call at Foo.Bar(baz)",
    " \u276f src/basket.test.ts (2 tests | 1 failed) 12ms",
    " \u276f src/basket.test.ts > sum 5ms",
    "FAIL  src/basket.test.ts > sum",
    "● sum \u203a adds",
    "    > 1 | class Basket { static sum(items) { return at(x.js:1:2) } }",
    "npm ERR! at 1:2",
    "npm WARN deprecated x@1.2.3: use y",
    "express@4.18.2:1:2",
    "pkg@https://registry.example/pkg/-/pkg-1.2.3.tgz:1:2",
    "react@18.2.0",
    "/go/pkg/mod/github.com/a/b@v1.2.3/x.go",
    "image: registry.example:5000/pier@sha256:0123:1:2",
    "redis://kim@localhost:6379:1",
    "postgresql://kim:pw@db:5432/pier",
    "amqp://kim@mq:5672//",
    "ws://localhost:8080/app.js",
    "GET https://cdn.example/main.js 404",
    "webpack://web/./src/index.ts",
    "webpack compiled in 12 ms",
    "asset main.js 1.2 KiB [emitted] (name: main)",
    "./src/index.js 1:2-3",
    "  modules by path ./src/*.js 12 bytes",
    'import x from "./x.js:1:2"',
    'x = f("a.js:1:2")',
    "see http://a/b.js:1:2",
    "(see http://a/b.js:1:2)",
    "kim at harbor.js:1:2",
    'Exception in thread "main"',
    "12:34:56 web1 kernel: [ 12.345] eth0: link up",
    "segfault at 0 ip 00007f sp 00007f error 4 in libc.so[7f+1000]",
    "berth[12]: segfault at 7 ip 0000 in pier[40000+1000]",
    "SIGSEGV at 0x7f (pc=0x4)",
    "ERROR at line 12: ORA-00942",
    "Error at row 12:3",
    "failed at step 3 (build.py:12)",
    "assertion failed at tests (x)",
    "opened at 2025-01-02 (x.py:12)",
]


def test_what_is_no_frame() -> None:
    assert [line for line in NO_FRAMES if list(parse_traceback(line))] == []


def test_texts_without_frames_have_none_together() -> None:
    assert list(parse_traceback("\n".join(NO_FRAMES))) == []


BUNDLES = [
    ("/app/dist/main.4f2a91c0.js:1:2345", True),
    ("/app/static/js/2.4f2a91c0.chunk.js:1:99", True),
    ("/app/.next/server/chunks/123.js:1:99", True),
    ("js/_dist/site.bundle.js:1:999", True),
    ("vendor/jquery.min.js:2:33", True),
    ("index.android.bundle:1:12345", True),
    ("main.jsbundle:1:2", True),
    ("http://10.0.2.2:8081/index.bundle//&platform=android&dev=true:7:9", True),
    ("/assets/chunk-4F2A91C0.js:1:2", True),
    ("/app/src/berth.js:1:20000", True),
    ("/app/src/berth.js:9:5", False),
    ("/app/src/bundler.js:9:5", False),
    ("/app/migrations/20250102030405-add.js:9:5", False),
    ("/app/src/feedback.js:9:5", False),
]


@pytest.mark.parametrize(("place", "bundle"), BUNDLES)
def test_bundles_are_known_as_such(place: str, bundle: bool) -> None:
    [frame] = parse_traceback(f"    at run ({place})")
    assert frame.bundle is bundle


PIECES = [
    "at (", " (", ":1", "|", "a@", "/", "at a.b(", '"', " in ", "at x (", "| ", "- ", "[a] ", "{", "a: ", "\\n", '\\"',
    'File "', "#0 ", ".go:1 ", ".py:1: ", "\x1b[", "\x1b]", "&lt;", "12:34:56 ", ") in ", "a in b at c",
    "at x [0x1] in ",
    "a.", "\t", "  at ", "(((", "> ", "1 ", "thread ' panicked at '", "', '", '{"a":', "[", "#012", ":line 1 in ", "'",
    "Uncaught x in ", "#1 0x1 in ", "package:", "https://", "webpack://", "stderr P ", "`", "✓", "\ud800", "9" * 50,
]  # fmt: skip


@pytest.mark.needs("time")
@pytest.mark.parametrize("piece", PIECES)
def test_texts_made_to_take_long_are_read(piece: str) -> None:
    """Hang where the time is more than linear: nothing here takes longer than a second."""
    for start in ("", "at ", '  File "', "{", "thread '"):
        list(parse_traceback(start + piece * (5000 // len(piece))))
    list(parse_traceback(piece * (60_000 // len(piece))))
    list(parse_traceback(("at " + piece * (2000 // len(piece)) + "\n") * 20))


def test_json_of_any_depth() -> None:
    assert list(parse_traceback("[" * 50_000 + "]" * 50_000)) == []
    text = '{"a":' * 500 + json.dumps(TRACES["Node"][0]) + "}" * 500
    assert len(list(parse_traceback(text))) == 2


def test_text_that_cannot_be_printed_is_replaced() -> None:
    [frame] = parse_traceback('{"s": "    at \\ud800 (/app/a.js:1:2)"}')
    assert str(frame).encode()
    assert list(parse_traceback(f"at f (/app/a.js:{'1' * 5000}:2)")) == []
