"""Any prefix before any frame of any language, in any order, in JSON: the same frames as without."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from flask_grpcweb_scm.scm.code_mappings.tracebacks import parse_traceback

# What log drivers, loggers, tools and people put before a line, and after it.
PREFIXES = {
    "docker compose": ("web-1  | ", ""),
    "docker compose, version 1": ("web_1      | ", ""),
    "docker compose with times": ("web-1  | 2025-01-02T03:04:05.123456789Z ", ""),
    "docker service logs": ("web.1.4ucwbqkl2kzw@node1    | ", ""),
    "honcho": ("03:04:05 web.1     | ", ""),
    "pm2": ("0|web      | ", ""),
    "pm2 with times": ("0|web  | 2025-01-02T03:04:05: ", ""),
    "tilt": ("      web │ ", ""),
    "turbo": ("web:dev: ", ""),
    "concurrently": ("[web] ", ""),
    "journald": ("Jan 02 03:04:05 web1 gunicorn[812]: ", ""),
    "journald, a single digit": ("Jan  2 03:04:05 web1 gunicorn[812]: ", ""),
    "journald, short-iso": ("2025-01-02T03:04:05+0000 web1 gunicorn[812]: ", ""),
    "journald, short-iso-precise": ("2025-01-02T03:04:05.123456+01:00 web1 gunicorn[812]: ", ""),
    "journald, short-full": ("Thu 2025-01-02 03:04:05 UTC web1 gunicorn[812]: ", ""),
    "journald, short-monotonic": ("[ 1234.567890] web1 gunicorn[812]: ", ""),
    "syslog without a number": ("Jan 02 03:04:05 web1 docker: ", ""),
    "syslog, RFC 3164": ("<34>Jan  2 03:04:05 web1 app: ", ""),
    "syslog, RFC 5424": ("<165>1 2025-01-02T03:04:05.003Z web1 app 812 ID47 - ", ""),
    "kubectl --timestamps": ("2025-01-02T03:04:05.123456789Z ", ""),
    "kubectl --prefix": ("[pod/web-5d8f6c7b9-x2x4z/web] ", ""),
    "kubectl --prefix --timestamps": ("[pod/web-5d8f6c7b9-x2x4z/web] 2025-01-02T03:04:05.123456789Z ", ""),
    "stern": ("web-5d8f6c7b9-x2x4z web ", ""),
    "CRI": ("2025-01-02T03:04:05.123456789+00:00 stderr F ", ""),
    "GitHub Actions": ("2025-01-02T03:04:05.1234567Z ", ""),
    "gh run view --log": ("test\tRun tests\t2025-01-02T03:04:05.1234567Z ", ""),
    "GitLab CI": ("2025-01-02T03:04:05.123456Z 01E ", ""),
    "Jenkins": ("[2025-01-02T03:04:05.678Z] ", ""),
    "Jenkins, Maven": ("[2025-01-02T03:04:05.678Z] [ERROR] ", ""),
    "Heroku": ("2025-01-02T03:04:05.123456+00:00 app[web.1]: ", ""),
    "Fly": ("2025-01-02T03:04:05Z app[148ed] ams [info] ", ""),
    "Cloud Foundry": ("   2025-01-02T03:04:05.67+0000 [APP/PROC/WEB/0] ERR ", ""),
    "CloudWatch": ("2025-01-02T03:04:05.678Z\t1b4e28ba-2fa1-11d2-883f-0016d3cca427\tERROR\t", ""),
    "aws logs tail": ("2025-01-02T03:04:05.123000+00:00 2025/01/02/[$LATEST]0123456789abcdef0123456789abcdef ", ""),
    "logcat": ("01-02 03:04:05.678  1234  1234 E AndroidRuntime: ", ""),
    "logcat, brief": ("E/AndroidRuntime( 1234): ", ""),
    "logcat, tag": ("E/AndroidRuntime: ", ""),
    "Android Studio": ("2025-01-02 03:04:05.678  1234-1234  AndroidRuntime  org.harbor.pier  E  ", ""),
    "Celery": ("[2025-01-02 03:04:05,678: ERROR/ForkPoolWorker-3] ", ""),
    "gunicorn": ("[2025-01-02 03:04:05 +0000] [12] [ERROR] ", ""),
    "Airflow": ("[2025-01-02, 03:04:05 UTC] {taskinstance.py:1851} ERROR - ", ""),
    "mod_wsgi": (
        "[Thu Jan 02 03:04:05.678901 2025] [wsgi:error] [pid 12:tid 34] [remote 192.0.2.1:5678] ", "",
    ),
    "mod_wsgi with a referrer": (
        "[Thu Jan 02 03:04:05.678901 2025] [wsgi:error] [pid 12] [client 192.0.2.1:5678] ",
        ", referer: https://pier.example/a",
    ),
    "uwsgi": ("Thu Jan  2 03:04:05 2025 - ", ""),
    "uwsgi with a tag": ("[uwsgi] ", ""),
    "uwsgi, a time": ("[2025-01-02 03:04:05] ", ""),
    "supervisor": ("2025-01-02 03:04:05,678 ERROR ", ""),
    "logging": ("ERROR:root:", ""),
    "logging with a format": ("2025-01-02 03:04:05,678 - pier.tasks - ERROR - ", ""),
    "loguru": ("2025-01-02 03:04:05.678 | ERROR    | ", ""),
    "Go's log": ("2025/01/02 03:04:05 ", ""),
    "klog": ("E0102 03:04:05.678901       1 runtime.go:78] ", ""),
    "Ruby's Logger": ("E, [2025-01-02T03:04:05.678901 #12] ERROR -- : ", ""),
    "a request's id": ("[1b4e28ba-2fa1-11d2-883f-0016d3cca427] ", ""),
    "Elixir's logger": ("03:04:05.678 [error] ", ""),
    "sbt": ("[error] ", ""),
    "Spring": ("2025-01-02 03:04:05.678 ERROR 1 --- [nio-8080-exec-1] o.h.pier.Slip    : ", ""),
    "mail quote": ("> ", ""),
    "mail quotes": ("> > ", ""),
    "mail quotes together": (">> ", ""),
    "list item": ("- ", ""),
    "list item with a star": ("* ", ""),
    "list item with a number": ("3. ", ""),
    "added in a diff": ("+", ""),
    "removed in a diff": ("-", ""),
    "context in a diff": (" ", ""),
    "a comment": ("# ", ""),
    "a comment with slashes": ("// ", ""),
    "ANSI colour": ("\x1b[31m", "\x1b[0m"),
    "ANSI colours": ("\x1b[36mweb-1  | \x1b[0m\x1b[1;31m", "\x1b[0m\x1b[K"),
    "24-bit colour": ("\x1b[38;2;255;0;0m", "\x1b[39m"),
    "a colour without its escape character": ("[31m", "[0m"),
    "a terminal's link": ("\x1b]8;;https://ci.example/1\x1b\\", "\x1b]8;;\x1b\\"),
    "a table": ("| ", " |"),
    "a box": ("│ ", "      │"),
    "code in a text": ("`", "`"),
    "cat -n": ("    12\t", ""),
    "carriage return": ("", "\r"),
    "spaces behind": ("", "   "),
    "syslog, RFC 5424, a byte order mark": ("<165>1 2025-01-02T03:04:05.003Z web1 app 812 - [a@1 x=\"y\"] \ufeff", ""),
    "journalctl -o verbose": ("    MESSAGE=", ""),
    "Azure DevOps": ("2025-01-02T03:04:05.1234567Z ##[error]", ""),
    "an annotation of GitHub": ("::error::", ""),
    "TeamCity": ("[03:04:05]E: [Step 1/3] ", ""),
    "TeamCity, a tab": ("[03:04:05]W:\t [Step 1/3] ", ""),
    "TeamCity without a letter": ("[03:04:05] : [Step 1/3] ", ""),
    "BuildKit": ("#12 3.456 ", ""),
    "BuildKit, a stage": ("#12 [web 3/5] 3.456 ", ""),
    "earthly": ("./svc+test | ", ""),
    "mpirun": ("[1,0]<stderr>:", ""),
    "NLog": ("2025-01-02 03:04:05.6789|ERROR|Harbor.Pier|", ""),
    "NestJS": ("[Nest] 812  - 01/02/2025, 3:04:05 AM   ERROR ", ""),
    "React Native": (" LOG  ", ""),
    "debug of npm": ("  pier:web ", ""),
    "debug of npm with a time": ("Thu, 02 Jan 2025 03:04:05 GMT pier:web:tasks ", ""),
    "grep -n": ("12:", ""),
    "grep -n in files": ("logs/app.log:12:", ""),
    "grep -C in files": ("logs/app.log-12-", ""),
    "grep in files": ("/var/log/app.log:", ""),
    "psql": (" ", "      +"),
    "psql, lines of Windows": (" ", "\\r      +"),
    "fields of CSV": ("2025-01-02T03:04:05Z,web1,error,", ""),
    "a box with double lines": ("║ ", "  ║"),
    "a tree": ("    └── ", ""),
    "a character without a width": ("\u200b", ""),
    "OpenStack": ("2025-01-02 03:04:05.678 812 TRACE pier.compute ", ""),
    "OpenStack, a request": ("2025-01-02 03:04:05.678 812 ERROR pier.compute [None req-1b4e28ba - - - - -] ", ""),
    "an unknown one": ("~~ pier ~~ job 12 of 34 ~~ ", ""),
}  # fmt: skip

# Language → lines of a trace with one frame, and its path, line and function.
FRAMES: dict[str, tuple[Sequence[str], str, int, str]] = {
    "Python": (
        ["Traceback (most recent call last):", '  File "/app/pier/berth.py", line 7, in run', "    a / b"],
        "/app/pier/berth.py", 7, "run",
    ),
    "Python, a notebook's cell": (['  File "/app/a b/ü.py", line 7, in <module>'], "/app/a b/ü.py", 7, "<module>"),
    "faulthandler": (['  File "/app/pier/berth.py", line 7 in run'], "/app/pier/berth.py", 7, "run"),
    "pytest": (["pier/berth.py:7: in run", "    a / b"], "pier/berth.py", 7, "run"),
    "IPython": (["File /app/pier/berth.py:7, in run(a)"], "/app/pier/berth.py", 7, "run"),
    "Rich": (["/app/pier/berth.py:7 in run"], "/app/pier/berth.py", 7, "run"),
    "Java": (
        ["java.lang.IllegalStateException: x", "\tat org.harbor.pier.Berth.run(Berth.java:8)"],
        "org.harbor.pier.Berth", 8, "run",
    ),
    "Kotlin": (
        ["\tat org.harbor.BerthKt$main$1.invokeSuspend(Berth.kt:8)"], "org.harbor.BerthKt$main$1", 8, "invokeSuspend",
    ),
    "Scala": (["\tat org.harbor.Berth$.$anonfun$run$1(Berth.scala:8)"], "org.harbor.Berth$", 8, "$anonfun$run$1"),
    "Java with its archive": (
        ["\tat org.harbor.Berth.run(Berth.java:8) ~[a.jar!/:1.0]"], "org.harbor.Berth", 8, "run",
    ),
    "Node": (["TypeError: x", "    at run (/app/src/berth.js:9:5)"], "/app/src/berth.js", 9, "run"),
    "Node, without a name": (["TypeError: x", "    at /app/src/berth.js:10:5"], "/app/src/berth.js", 10, ""),
    "Node, asynchronous": (
        ["    at async Berth.run (file:///app/src/berth.mjs:9:5)"], "/app/src/berth.mjs", 9, "Berth.run",
    ),
    "Node on Windows": (["    at run (C:\\app\\src\\berth.js:9:5)"], "C:\\app\\src\\berth.js", 9, "run"),
    "Hermes": (["    at run (address at index.android.bundle:1:2345)"], "index.android.bundle", 1, "run"),
    "Firefox": (["run@/app/src/berth.js:12:5"], "/app/src/berth.js", 12, "run"),
    "Safari": (["run@https://pier.example/src/berth.js:12:5"], "https://pier.example/src/berth.js", 12, "run"),
    "webpack": (["    at run (webpack:///./src/berth.ts?1f:9:5)"], "./src/berth.ts", 9, "run"),
    "vitest": ([" \u276f run src/berth.ts:9:5"], "src/berth.ts", 9, "run"),
    "Go": (
        ["goroutine 1 [running]:", "main.run()", "\t/app/pier/berth.go:11 +0x1d"], "/app/pier/berth.go", 11, "main.run",
    ),
    "Go without an offset": (
        ["main.(*B).run(...)", "\t/app/pier/berth.go:11"], "/app/pier/berth.go", 11, "main.(*B).run",
    ),
    "Go with registers": (
        ["main.run()", "\t/app/pier/berth.go:11 +0x1d fp=0xc0 sp=0xc1 pc=0x4"], "/app/pier/berth.go", 11, "main.run",
    ),
    "gin": (
        ["/app/pier/berth.go:11 (0x7a4e15)", "\t(*Berth).run: return b.x"], "/app/pier/berth.go", 11, "(*Berth).run",
    ),
    "C#": (
        ["   at Harbor.Berth.Run(Int32 n) in /src/Berth.cs:line 12"], "/src/Berth.cs", 12, "Harbor.Berth.Run(Int32 n)",
    ),
    "Ruby": (["app/models/berth.rb:7:in `run'"], "app/models/berth.rb", 7, "run"),
    "Ruby 3.4": (["\tfrom /app/berth.rb:7:in 'Berth#run'"], "/app/berth.rb", 7, "Berth#run"),
    "PHP": (["#0 /var/www/html/index.php(51): Berth->run()"], "/var/www/html/index.php", 51, "Berth->run()"),
    "Rust": (["   2: pier::run", "             at ./src/berth.rs:7:9"], "./src/berth.rs", 7, "pier::run"),
    "Swift": (
        ["0 0x00005581f3a1 run(_:) + 24 in pier at /app/berth.swift:7:16"], "/app/berth.swift", 7, "run(_:) + 24",
    ),
    "Dart": (["#0      Berth.run (package:pier/berth.dart:7:9)"], "package:pier/berth.dart", 7, "Berth.run"),
    "Elixir": (["    (pier 0.1.0) lib/berth.ex:7: Pier.Berth.run/1"], "lib/berth.ex", 7, "Pier.Berth.run/1"),
    "gdb": (["#1  0x0000555 in run (p=0x0) at src/berth.c:7"], "src/berth.c", 7, "run"),
}  # fmt: skip


def read(text: str) -> list[tuple[str, int, str]]:
    return [(frame.frame.text, frame.line, frame.function) for frame in parse_traceback(text)]


def around(prefix: str, lines: Sequence[str]) -> list[str]:
    before, after = PREFIXES[prefix]
    return [f"{before}{line}{after}" for line in lines]


@pytest.mark.parametrize("language", FRAMES)
def test_a_prefix_changes_nothing(language: str) -> None:
    lines, *expected = FRAMES[language]
    found = {prefix: read("\n".join(around(prefix, lines))) for prefix in PREFIXES}
    assert {prefix: frames for prefix, frames in found.items() if frames != [tuple(expected)]} == {}


# Prefixes with numbers that count lines or seconds.
COUNTING = [
    "    {}\t", "{}: ", "{}:", "{}. ", "| {} | ", "app.log:{}:", "#12 3.{} ", "[  123.{}] ", "[{}/34] ", "[ {}%] ",
    "ERRO[00{}] ", "03:{} ", "00:{} +0 -1: ", "[  +{} ms] ", "3:04:{} AM: ",
    "<165>1 2025-01-02T03:04:05Z web1 app 812 ID{} - ",
    "0000{}  ", "{}\tweb1\t",
]  # fmt: skip


@pytest.mark.parametrize("language", FRAMES)
def test_prefixes_that_count_change_nothing(language: str) -> None:
    lines, *expected = FRAMES[language]
    numbered = list(enumerate(lines, 10))
    found = {prefix: read("\n".join(prefix.format(number) + line for number, line in numbered)) for prefix in COUNTING}
    assert {prefix: frames for prefix, frames in found.items() if frames != [tuple(expected)]} == {}


# Prefixes that end without a space.
GLUED = {
    "added in a diff", "removed in a diff", "code in a text", "grep -n", "grep -n in files", "grep -C in files",
    "grep in files", "journalctl -o verbose", "Azure DevOps", "an annotation of GitHub", "mpirun", "NLog", "logging",
    "fields of CSV",
}  # fmt: skip
# Outer and inner prefixes that cannot be told from the frame.
AMBIGUOUS = {
    # An unknown prefix ends at a space: after it, "+src/a.rb" may be a path.
    *(("an unknown one", inner) for inner in GLUED),
    # psql writes \r for this character: such a line is two.
    ("psql", "carriage return"),
    ("psql, lines of Windows", "carriage return"),
}


@pytest.mark.parametrize(("number", "language"), [*enumerate(FRAMES)])
def test_two_prefixes_change_nothing(number: int, language: str) -> None:
    lines, *expected = FRAMES[language]
    # Each outer and each inner prefix meets each language, and each pair of them one language.
    found = {}
    for (place, (outer, (before, after))), (other, inner) in itertools.product(
        enumerate(PREFIXES.items()), enumerate(PREFIXES)
    ):
        if (place + other) % len(FRAMES) == number and (outer, inner) not in AMBIGUOUS:
            found[outer, inner] = read("\n".join(f"{before}{line}{after}" for line in around(inner, lines)))
    assert {pair: frames for pair, frames in found.items() if frames != [tuple(expected)]} == {}
