"""What failed in a text: which of its stack traces, which of its exceptions, and in which order the frames called."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.code_mappings.tracebacks import TracebackFrame, parse_failure

FOLDER = Path(__file__).with_name("tracebacks")

PYTHON = """\
Traceback (most recent call last):
  File "/app/a.py", line 3, in f
    return d["x"]
           ~^^^^^
KeyError: 'x'

{between}

Traceback (most recent call last):
  File "/app/main.py", line 20, in <module>
    main()
  File "/app/a.py", line 5, in f
    {code}
ValueError: no
"""
CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"

# A text, and the places in the order of the calls: the last one failed.
CASES = {
    "python, raised from another": (
        PYTHON.format(between=CAUSE, code='raise ValueError("no") from error'), "main.py:20 a.py:5 a.py:3",
    ),
    "python, raised on purpose while another was handled": (
        PYTHON.format(between=CONTEXT, code='raise ValueError("no")'), "main.py:20 a.py:5 a.py:3",
    ),
    "python, failed while another was handled": (
        PYTHON.format(between=CONTEXT, code="log.warning(undefined)"), "a.py:3 main.py:20 a.py:5",
    ),
    "python, two traces": (
        PYTHON.format(between="2026-01-02 03:04:05 ERROR again", code="g()"), "main.py:20 a.py:5",
    ),
    "python, a group": ("""\
  + Exception Group Traceback (most recent call last):
  |   File "/app/main.py", line 7, in <module>
  |     main()
  | ExceptionGroup: several (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/a.py", line 4, in f
    |     boom()
    | ValueError: x
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/app/b.py", line 5, in g
    |     boom()
    | KeyError: 'y'
    +------------------------------------
""", "main.py:7 a.py:4"),
    "python, from faulthandler": ("""\
Fatal Python error: Segmentation fault

Thread 0x0000000000000001 (most recent call first):
  File "/app/other.py", line 3 in g

Current thread 0x0000000000000007 (most recent call first):
  File "/app/a.py", line 3 in f
  File "/app/main.py", line 9 in <module>
""", "main.py:9 a.py:3"),
    "python, from py-spy": ("""\
Thread 12782 (idle): "MainThread"
    moor (spy.py:5)
    <module> (spy.py:9)
Thread 12848 (idle): "Thread-1 (moor)"
    moor (spy.py:7)
""", "spy.py:9 spy.py:5"),
    "pytest": ("""\
____________ test_x ______________
test_a.py:9: in test_x
    f()
a.py:3: in f
    return d["x"]
E   KeyError: 'x'

The above exception was the direct cause of the following exception:
test_a.py:9: in test_x
    f()
a.py:5: in f
    raise ValueError("x") from error
E   ValueError: x
""", "test_a.py:9 a.py:5 test_a.py:9 a.py:3"),
    "pytest, raised on purpose": ("""\
____________ test_x ______________

    def f():
>       return d["x"]
E       KeyError: 'x'

a.py:3: KeyError

During handling of the above exception, another exception occurred:

    def test_x():
>       f()

test_a.py:9:
_ _ _ _ _ _ _ _ _ _ _
    def f():
>       raise ValueError("x")
E       ValueError: x

a.py:5: ValueError
""", "test_a.py:9 a.py:5 a.py:3"),
    "java, causes and what was suppressed": ("""\
Exception in thread "main" java.lang.IllegalStateException: x
	at com.acme.A.run(A.java:10)
	at com.acme.Main.main(Main.java:5)
	Suppressed: java.io.IOException: close
		at com.acme.R.close(R.java:2)
		... 2 more
	Caused by: java.lang.Error: nested
		at com.acme.R.nested(R.java:3)
Caused by: java.lang.RuntimeException: y
	at com.acme.B.load(B.java:4)
	at com.acme.A.run(A.java:9)
	... 1 more
Caused by: java.lang.NullPointerException
	at com.acme.C.get(C.java:7)
	at com.acme.B.load(B.java:3)
	... 2 more
""", "Main.java:5 A.java:10 A.java:9 B.java:4 B.java:3 C.java:7"),
    "java, first cause first, as Logback may have it": ("""\
java.lang.NullPointerException: null
	at com.acme.B.get(B.java:7)
	at com.acme.A.run(A.java:9)
	... 1 common frames omitted
Wrapped by: java.lang.IllegalStateException: x
	at com.acme.A.run(A.java:10)
	at com.acme.Main.main(Main.java:5)
""", "Main.java:5 A.java:10 A.java:9 B.java:7"),
    "java, two traces in a log": ("""\
2026-01-02 03:04:05 ERROR c.a.Foo - failed
java.lang.IllegalStateException: x
	at com.acme.A.run(A.java:10)
2026-01-02 03:04:06 ERROR c.a.Foo - failed
java.lang.IllegalStateException: y
	at com.acme.A.run(A.java:11)
	at com.acme.M.run(M.java:12)
""", "M.java:12 A.java:11"),
    "go, with other goroutines": ("""\
panic: runtime error: index out of range [3] with length 0

goroutine 18 [running]:
main.total(...)
	/srv/cart.go:15
main.main.func1()
	/srv/main.go:11 +0x5b
created by main.main in goroutine 1
	/srv/main.go:10 +0x5f

goroutine 1 [chan receive]:
main.main()
	/srv/main.go:14 +0x6b

goroutine 7 [running]:
main.other()
	/srv/other.go:1 +0x6b
exit status 2
""", "main.go:10 main.go:11 cart.go:15"),
    "go, without an end": ("""\
runtime: goroutine stack exceeds 1048576-byte limit
runtime: sp=0xc000180390 stack=[0xc000180000, 0xc000280000]
fatal error: stack overflow

runtime stack:
runtime.throw({0x4c6a3c?, 0x200000008?})
	/usr/local/go/src/runtime/panic.go:1047 +0x5d fp=0x7ffc78f7a0c8 sp=0x7ffc78f7a098 pc=0x434a5d
runtime.morestack()
	/usr/local/go/src/runtime/asm_amd64.s:570 +0x8b fp=0x7ffc78f7a268 sp=0x7ffc78f7a260 pc=0x45f62b

goroutine 1 gp=0xc00014a1e0 m=0 mp=0x5d8800 [running]:
main.depth(0x0?)
	/srv/tree.go:5 +0x36 fp=0xc0001803a0 sp=0xc000180398 pc=0x4a34d6
main.depth(...)
	/srv/tree.go:9 +0x1a fp=0xc0001803b8 sp=0xc0001803a0 pc=0x4a34ba
...87161 frames elided...
main.main()
	/srv/main.go:3 +0x2e fp=0xc00027ff80 sp=0xc00027ff60 pc=0x4a35ce

goroutine 2 gp=0xc00014a780 m=nil [force gc (idle)]:
main.idle()
	/srv/idle.go:1 +0xce fp=0xc000054fa8 sp=0xc000054f88 pc=0x43744e
""", "main.go:3 tree.go:9 tree.go:5"),
    "go, panics again while it recovers": ("""\
panic: first [recovered]
	panic: again

goroutine 1 [running]:
main.main.func1()
	/srv/main.go:9 +0x1d
panic({0x1, 0x2})
	/usr/local/go/src/runtime/panic.go:884 +0x212
runtime.goPanicIndex(...)
	/usr/local/go/src/runtime/panic.go:113 +0x1
main.total(...)
	/srv/cart.go:15
main.main()
	/srv/main.go:20 +0x1d
""", "main.go:9 main.go:20 cart.go:15"),
    "go, recovered twice in a log": ("""\
2026/01/02 03:04:05 http: panic serving 127.0.0.1:1: x
goroutine 34 [running]:
net/http.(*conn).serve.func1()
	/usr/local/go/src/net/http/server.go:1 +0x1
panic({0x1, 0x2})
	/usr/local/go/src/runtime/panic.go:884 +0x212
main.first()
	/srv/cart.go:15 +0x1
2026/01/02 03:04:06 http: panic serving 127.0.0.1:1: x
goroutine 35 [running]:
net/http.(*conn).serve.func1()
	/usr/local/go/src/net/http/server.go:1 +0x1
panic({0x1, 0x2})
	/usr/local/go/src/runtime/panic.go:884 +0x212
main.second()
	/srv/cart.go:16 +0x1
""", "cart.go:16"),
    "node, a cause": ("""\
/app/a.js:3
    throw new Error("outer", {cause: e});
    ^

Error: outer
    at f (/app/a.js:3:9)
    at main (/app/main.js:8:1) {
  [cause]: TypeError: inner
      at g (/app/b.js:7:3)
      at f (/app/a.js:2:5)
      ... 3 lines matching cause stack trace ...
}
""", "main.js:8 a.js:3 a.js:2 b.js:7"),
    "node, errors of promises": ("""\
AggregateError: All promises were rejected
    at main (/app/main.js:8:1) {
  [errors]: [
    TypeError: one
        at g (/app/b.js:7:3),
    Error: two
        at h (/app/c.js:8:3)
  ]
}
""", "main.js:8"),
    "ruby, a cause": ("""\
x.rb:7:in `rescue in f': outer (RuntimeError)
	from x.rb:5:in `f'
	from x.rb:10:in `<main>'
y.rb:2:in `g': inner (ZeroDivisionError)
	from x.rb:6:in `f'
	from x.rb:10:in `<main>'
""", "x.rb:10 x.rb:5 x.rb:7 x.rb:10 x.rb:6 y.rb:2"),
    "ruby, on a terminal of older versions": ("""\
Traceback (most recent call last):
	1: from x.rb:10:in `<main>'
x.rb:7:in `f': outer (RuntimeError)
""", "x.rb:10 x.rb:7"),
    "php, a previous exception": ("""\
PHP Fatal error:  Uncaught DomainException: inner in /app/b.php:7
Stack trace:
#0 /app/a.php(3): g()
#1 {main}

Next RuntimeException: outer in /app/a.php:5
Stack trace:
#0 /app/main.php(2): f()
#1 {main}
  thrown in /app/a.php on line 5
""", "main.php:2 a.php:5 a.php:3 b.php:7"),
    "php, on the screen": ("""\
Fatal error: Uncaught Exception: boom in /app/b.php:7
Stack trace:
#0 /app/a.php(3): g()
#1 /app/main.php(2): f()
#2 {main}
  thrown in /app/b.php on line 7
""", "main.php:2 a.php:3 b.php:7"),
    "php, on the screen, an argument": ("""\
Fatal error: Uncaught TypeError: g(): $x must be int, called in /app/a.php on line 3 and defined in /app/b.php:7
Stack trace:
#0 /app/a.php(3): g()
#1 {main}
  thrown in /app/b.php on line 7
""", "a.php:3 b.php:7"),
    "php, from Xdebug": ("""\
PHP Fatal error:  Uncaught Error: x in /app/b.php:7
PHP   1. {main}() /app/main.php:0
PHP   2. f() /app/main.php:3
PHP   3. g() /app/a.php:5
""", "main.php:0 main.php:3 a.php:5 b.php:7"),
    "c#, an inner exception": ("""\
Unhandled exception. System.Exception: outer
 ---> System.InvalidOperationException: inner
   at Shop.B.G() in /app/B.cs:line 7
   at Shop.A.F() in /app/A.cs:line 3
   --- End of inner exception stack trace ---
   at Shop.A.F() in /app/A.cs:line 5
   at Shop.Program.Main() in /app/Program.cs:line 2
""", "Program.cs:2 A.cs:5 A.cs:3 B.cs:7"),
    "rust": ("""\
thread 'main' panicked at src/cart.rs:7:9:
index out of bounds
stack backtrace:
   0: rust_begin_unwind
             at /rustc/abc/library/std/src/panicking.rs:645:5
   1: shop::cart::total
             at ./src/cart.rs:7:9
   2: shop::main
             at ./src/main.rs:3:5
""", "main.rs:3 cart.rs:7"),
    "an event of an error tracker": (
        '{"exception": {"values": ['
        '{"type": "KeyError", "stacktrace": {"frames": ['
        '{"filename": "main.py", "lineno": 1}, {"filename": "b.py", "lineno": 2}]}},'
        '{"type": "ValueError", "stacktrace": {"frames": [{"filename": "a.py", "lineno": 5}]}}]}}',
        "a.py:5 main.py:1 b.py:2",
    ),
}  # fmt: skip


def places(frames: list[TracebackFrame]) -> str:
    """The places of frames that may be ours."""
    paths = [(frame.frame.path or frame.frame.abs_path, frame.line) for frame in frames if not frame.not_ours]
    return " ".join(f"{path.rpartition('/')[2]}:{line}" for path, line in paths if not path.startswith("/rustc/"))


PREFIXES = ["", "web-1  | ", "2026-01-02T03:04:05.678Z ", "Jan 02 03:04:05 host app[12]: "]


@pytest.mark.parametrize(
    ("text", "expected", "prefix"),
    [
        pytest.param(text, expected, prefix, id=f"{name}-{prefix}")
        for prefix in PREFIXES
        for name, (text, expected) in CASES.items()
        if not (prefix and "stacktrace" in text)  # JSON has no lines
    ],
)
def test_what_failed_comes_last(text: str, expected: str, prefix: str) -> None:
    prefixed = "".join(f"{prefix}{line}\n" for line in text.splitlines())
    assert places(parse_failure(prefixed)) == expected


# The place that failed in each of the real traces, which are in one order or the other.
REAL = {
    "clojure": "cart.clj:1", "elixir": "berth.ex:2", "gdb": "c.c:2", "go": "cart.go:5", "go_deadlock": "main.go:9",
    "go_recovered": "gauge.go:3", "go_registers": "gauge.go:3", "go_trimpath": "cart.go:5", "ipython": "berth.py:3",
    "java": "Cart.java:7", "java_suppressed": "Berth.java:5", "jest": "basket.js:1", "loguru": "berth.py:3",
    "node": "main.mjs:3", "node_errors": "basket.js:1", "node_test": "basket.js:1", "php": "berth.php:2",
    "php_log": "berth.php:4", "pytest_long": "test_berth.py:8", "pytest_short": "test_berth.py:8",
    "python": "cart.py:6", "python_group": "group.py:1", "rich": "berth.py:3", "rich_wrapped": "berth.py:3",
    "ruby": "berth.rb:2", "ruby_full": "berth.rb:2", "rust": "berth.rs:1", "stackprinter": "berth.py:3",
    "structlog": "berth.py:3",
    "vitest": "basket.js:1",
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), REAL.items())
def test_real_traces(name: str, expected: str) -> None:
    assert places(parse_failure((FOLDER / f"{name}.txt").read_text())).split()[-1] == expected


def test_two_programs_that_write_to_one_log_do_not_mix() -> None:
    python = ["Traceback (most recent call last):", '  File "/app/a.py", line 1, in f', "    x", "KeyError: 'x'"]
    java = ["java.lang.Error: x", "\tat com.acme.A.run(A.java:10)", "\tat com.acme.M.run(M.java:12)", "Caused by: y"]
    lines = [f"{prefix} | {line}\n" for pair in zip(python, java, strict=True)
             for prefix, line in zip(("web-1", "jobs-1"), pair, strict=True)]  # fmt: skip
    assert places(parse_failure("".join(lines))) == "M.java:12 A.java:10"


def test_an_event_says_which_frames_are_the_apps_own() -> None:
    frames = '{"frames": [{"filename": "a.py", "lineno": 1}, {"filename": "b.py", "lineno": 2, "in_app": false}]}'
    assert [frame.not_ours for frame in parse_failure(frames)] == ["", "it is not the app's own code: in_app is false"]


def test_a_text_without_frames_has_no_failure() -> None:
    assert parse_failure("Caused by: nothing\nTraceback (most recent call last):\n") == []
