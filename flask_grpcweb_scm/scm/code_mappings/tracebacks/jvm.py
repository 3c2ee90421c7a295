"""Frames of Java, Kotlin, Scala, Groovy and Clojure; pure."""

from __future__ import annotations

import re

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import NO_FILE, Language, Row, Stream, TracebackFrame

__all__ = ["JVM"]

# In place of a file: of native methods, of classes that were made at run time, and after obfuscation.
_PLACEHOLDER = re.compile(
    r"Native Method|Unknown Source|Hidden Source|SourceFile|Proguard|<(?:generated|unknown|console|iostream)>|"
    r"NO_SOURCE_FILE|NO_SOURCE_PATH|REPL|null|r8-map-id-\w+|D8\$\$SyntheticClass"
)
_FILE = re.compile(r"[^/\\()]+\.(?:java|kts?|scala|sc|groovy|gradle|gvy|gsh|clj[cs]?|jspx?|aj|xtend)", re.IGNORECASE)
_MODULE = re.compile(r"(?P<module>[\w.]+)(?:@[^/]*)?/")
_LIBRARY = re.compile(
    r"(?:java|javax|jdk|sun|com\.sun|kotlin|scala|clojure|groovy|org\.codehaus\.groovy|dalvik|libcore|"
    r"com\.android\.internal|android\.(?:app|os|view|widget))\..*"
)
_RUNTIME_MODULE = re.compile(r"(?:java|jdk)\.[\w.]+(?:@[^/]*)?/")


def _read_java(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    groups = match.groupdict()
    file, origin = match["file"], groups.get("origin") or ""
    inside = _MODULE.match(file)  # jstack: "(java.base@17/Thread.java:833)"
    if inside is not None:
        origin, file = inside[0], file[inside.end() :]
    known = _FILE.fullmatch(file)
    if known is None and _PLACEHOLDER.fullmatch(file) is None:
        return None
    module = match["module"].replace("-", "_") if file.endswith((".clj", ".cljc")) else match["module"]
    reason = "" if known else NO_FILE
    if _RUNTIME_MODULE.fullmatch(origin) or _LIBRARY.fullmatch(module):
        reason = "the library of the language"
    frame = StackFrame(module=module, abs_path=file, platform="java")
    return TracebackFrame(frame, int(groups.get("line") or 0), match["function"], reason)


_CLOJURE_FILE = r"(?P<file>[\w.-]+\.(?:clj[cs]?|java))"

JVM = Language(
    "Java",
    "java",
    (
        # StackTraceElement.toString(): "com.foo.loader/foo@9.0/com.foo.Main.run(Main.java:101)"; either of loader and
        # module may be missing. A class made at run time has a slash of its own: "Main$$Lambda/0x0123.run(…)".
        # Clojure's own printer has a space before the parenthesis; a packaging in brackets may follow. Cats Effect has
        # the operator before: "at map @ com.foo.Main$.run(Main.scala:12)".
        Row(".", re.compile(
            r"(?:at |\u2570 )(?:\w+ @ )?"
            r"(?P<origin>(?:[^\s()/]*/){0,2}?)(?P<module>[^\s()/]+(?:/0x[0-9a-f]+)?)\.(?P<function>[^()/.]+?) ?"
            r"\((?P<file>[^():]+)(?::(?P<line>\d{1,9}))?\)(?:\s(?!at ).*|~?\[[^\[\]]*\])?"
        ), _read_java),
        # in lists of strings, as AWS Lambda has them: "com.foo.Main.run(Main.java:101)"
        Row(".", re.compile(
            r"(?P<module>[\w.$]+)\.(?P<function>[\w$<>]+)\((?P<file>[\w$]+\.(?:java|kt|scala|groovy)):(?P<line>\d{1,9})\)"
        ), _read_java),
        # Clojure's data: [shop.cart$total invoke "cart.clj" 7]
        Row('"', re.compile(
            r"(?::(?:at|trace) )?\[{1,2}(?P<module>[^\s\[\]\"]+) (?P<function>[^\s\[\]\"]+) "
            r'"(?P<file>[^"/]+)" (?P<line>\d{1,9})[\]}]*'
        ), _read_java),
        # Clojure: "Execution error (X) at shop.cart/total (cart.clj:7).", "shop.cart/total (cart.clj:7)"
        Row(" (", re.compile(
            r"(?:(?:Execution|Syntax) error .*at )?"
            r"(?P<module>[\w.*+!?<>=$-]+)[/.](?P<function>[^\s/().]+) "
            rf"\({_CLOJURE_FILE}:(?P<line>\d{{1,9}})(?::\d+)?\)\.?"
        ), _read_java),
    ),
)  # fmt: skip
