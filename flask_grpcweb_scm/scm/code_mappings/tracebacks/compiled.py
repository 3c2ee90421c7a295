"""Frames of Go, Rust, Swift, C#, and of debuggers and sanitizers of C; pure."""

from __future__ import annotations

import re

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import (
    NO_FILE,
    Language,
    Later,
    Row,
    Stream,
    TracebackFrame,
    matched_frame,
)

__all__ = ["CSHARP", "GO", "NATIVE", "RUST", "SWIFT"]

_DRIVE = r"(?:[A-Za-z]:(?=[\\/]))?"
_LINE = r"(?P<line>\d{1,9})"


def _path(*extensions: str) -> str:
    """Return a group `path` for files with one of these extensions; they have no colon."""
    # In front of everything else it has spaces only when it is absolute: else they are of a prefix.
    return rf"(?P<path>(?:(?:[A-Za-z]:|\.{{1,2}})?[\\/](?=[^\s/])[^:\"\t|]*|[^:\"\s]+)\.(?:{'|'.join(extensions)}))"


# Go: a line with the function, then "\t/srv/main.go:12 +0x1d".
_GO_PLACE = rf"{_path('go', 's')}:{_LINE}"


def _read_go(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    function = _go_function(stream.before)
    if not (match["offset"] or stream.indented or function):
        return None
    return matched_frame(match, "go", function=function)


def _go_function(line: str) -> str:
    """Return the function of the line before a place; empty when it is none."""
    text = line.removeprefix("created by ")
    text = re.sub(r" in goroutine \d{1,9}$", "", text)
    if text.endswith(")"):
        # The arguments: up to the last parenthesis that opens outside of them.
        start = text.rfind("(") if "({" not in text else text.find("({")
        text = text[:start]
    return text if re.fullmatch(r"[^\s:;,\"'=]*[\w)\]]", text) and ("." in text or text == "panic") else ""


GO = Language(
    "Go",
    "go",
    (
        Row(".", re.compile(
            rf"(?:-> +|Error Trace:\s+)?{_GO_PLACE}(?P<offset> \+0x[0-9a-f]+)?"
            r"(?: fp=0x[0-9a-f]+ sp=0x[0-9a-f]+(?: pc=0x[0-9a-f]+)?)?"
        ), _read_go),
        # gin and go-errors: the place, then the function and its code
        Row(
            " (0x", re.compile(rf"{_GO_PLACE} \(0x[0-9a-f]+\)"),
            None, Later(re.compile(r"(?P<function>[^\s:\d\[][^\s:/<>]*): .*")),
        ),
        # net/http/pprof: "#\t0x43223c\tmain.read+0x1d\t/srv/main.go:12"
        Row("0x", re.compile(rf"(?:#\s+)?0x[0-9a-f]+\s+(?P<function>\S+)\+0x[0-9a-f]+\s+{_GO_PLACE}")),
        # eris: "main.read:/srv/main.go:12"
        Row(":/", re.compile(rf"(?P<function>[^\s:]*\.[^\s:/]+):(?P<path>/[^\s:]+\.go):{_LINE}")),
        Row("at ", re.compile(rf"at {_GO_PLACE}"), lambda match, stream: matched_frame(match, "go")),
    ),
)  # fmt: skip


# Rust: "  2: shop::cart::total", then "at ./src/cart.rs:7:9".
_RUST_FUNCTION = re.compile(r"(?:\d+: +)?(?:0x[0-9a-f]+ - )?(?P<name>\S.*)")


def _read_rust(match: re.Match[str], stream: Stream) -> TracebackFrame:
    function = _RUST_FUNCTION.fullmatch(stream.before)
    return matched_frame(match, "rust", function=function["name"] if function else "")


RUST = Language(
    "Rust",
    "rust",
    (
        Row("at ", re.compile(rf"at {_path('rs')}:{_LINE}(?::\d+)?"), _read_rust),
        Row("panicked at ", re.compile(
            rf"thread '[^']*'(?: \(\d+\))? panicked at (?:['\"].*['\"], )?(?P<path>{_DRIVE}[^:\"']+\.rs):{_LINE}:\d+:?"
        )),
    ),
)  # fmt: skip


_SWIFT_LIBRARY = "Swift's own library"


def _read_swift_error(match: re.Match[str], stream: Stream) -> TracebackFrame:
    return matched_frame(match, "swift", not_ours=_SWIFT_LIBRARY if match["path"].startswith("Swift/") else "")


SWIFT = Language(
    "Swift",
    "swift",
    (
        # "1 0x5581 f() + 12 in shop at /app/cart.swift:7:16"
        Row(" in ", re.compile(
            r"\d+ +(?:\[\w+\] )?(?:0x[0-9a-f]+ )?(?P<function>[^\s\d](?:(?! 0x[0-9a-f]{4}).)*) in \S+ at "
            rf"(?P<path>(?:(?! in )[^:])+\.swift):{_LINE}(?::\d+)?"
        )),
        # Xcode's reports: "3  shop  0x0000 f() + 24 (cart.swift:7)"
        Row(".swift:", re.compile(
            rf"\d+ +.+ 0x[0-9a-f]+ (?P<function>.+) \((?P<path>[^()]+\.swift):{_LINE}\)"
        )),
        # lldb: "frame #0: 0x0000 shop`f() at cart.swift:7:16"
        Row(" at ", re.compile(
            r"(?:\* )?frame #\d+: 0x[0-9a-f]+ [^`]*`(?P<function>.+) at "
            rf"(?P<path>(?:(?! at )[^:])+\.swift):{_LINE}(?::\d+)?(?: \[[^\[\]]*\])*"
        )),
        # before version 5.3: "Fatal error: x: file cart.swift, line 7"
        Row(": file ", re.compile(
            rf"(?:Fatal|Precondition|Assertion) (?:error|failed): (?:.*: )?file (?P<path>[^:]+\.swift), line {_LINE}"
        ), _read_swift_error),
        Row(".swift:", re.compile(
            rf"{_path('swift')}:{_LINE}: (?:Fatal error|Precondition failed|Assertion failed)(?:: .*)?"
        ), _read_swift_error),
    ),
)  # fmt: skip


# .NET says "at", "in" and "line" in the language of the system.
_AT = "at|bei|à|en|in|em|в|w|v|場所|在|於|위치:"
_IN = "in|dans|en|na|em|в|w|v|場所|位置|於|파일"
_NUMBER = "line|Zeile|ligne|línea|riga|linha|строка|wiersz|řádek|行号|行|줄"


def _read_csharp(match: re.Match[str], stream: Stream) -> TracebackFrame:
    nowhere = match["path"].startswith("<")  # Mono, without debug information
    return matched_frame(match, "csharp", not_ours=NO_FILE if nowhere else "")


def _read_csharp_without_file(match: re.Match[str], stream: Stream) -> TracebackFrame:
    function = match["function"]
    return TracebackFrame(StackFrame(module=function, platform="csharp"), 0, function, NO_FILE)


CSHARP = Language(
    "C#",
    "csharp",
    (
        Row(":", re.compile(
            rf"(?:{_AT}) (?P<function>\S(?:(?!:(?:{_NUMBER}) ?\d).)*) (?:{_IN}) "
            rf"(?P<path>(?:(?! (?:{_IN}) ).)+\.\w+):(?:{_NUMBER}) ?{_LINE}\.?"
        ), _read_csharp),
        # and in any other language: "bij A.B() in C:\\B.cs:regel 12", "於 A.B() 於 C:\\B.cs: 行 12"
        Row(".", re.compile(
            r"(?:\w+ ){0,2}\w+:? (?P<function>[^\s()]*\.[^\s()]+\([^:]*\)) (?:[^\s()]+ )?(?P<path>(?:[A-Za-z]:[\\/]|/)"
            rf"[^:\"()]+\.(?:cs|fs|vb|cshtml|razor))(?: [^\W\d]+)?[:,] ?[^\W\d]+:? ?{_LINE}\.?"
        )),
        # Mono: "at A.B (System.Int32 n) [0x00012] in /src/B.cs:12"
        Row("] in ", re.compile(
            rf"at (?P<function>\S.*) \[0x[0-9a-f]+\] in (?P<path>{_DRIVE}(?:(?!\] in )[^:])+):{_LINE}"
        ), _read_csharp),
        # Unity: "A:B(Int32) (at Assets/B.cs:12)"
        Row("(at ", re.compile(rf"(?P<function>\S.*?) ?\(at (?P<path>[^()]+\.cs):{_LINE}\)")),
        # PowerShell: "at f, C:\x.ps1: line 7", "At C:\x.ps1:7 char:3"
        Row(".ps", re.compile(rf"at (?P<function>[^,]+), {_path('ps1', 'psm1')}: line {_LINE}")),
        Row(".ps", re.compile(rf"At {_path('ps1', 'psm1')}:{_LINE} char:\d+")),
        Row("at ", re.compile(
            r"at (?P<function>[A-Za-z_<][^\s()]*\.[^\s().]+\((?:[^\s()]+ \w+(?:, [^\s()]+ \w+)*)?\))"
        ), _read_csharp_without_file),
    ),
)  # fmt: skip


NATIVE = Language(
    "C",
    "native",
    (
        # gdb: "#1  0x0000 in f (n=3) at cart.c:12"
        Row(" at ", re.compile(
            r"#\d+ +(?:0x[0-9a-f]+ in )?(?P<function>[^\s(](?:(?! #\d).)*) \([^()]*(?:\([^()]*\)[^()]*){0,20}\) at "
            rf"(?P<path>(?:(?! at )[^:])+):{_LINE}"
        )),
        # Sanitizers: "#0 0x0000 in f /app/cart.c:12:5"
        Row(" in ", re.compile(rf"#\d+ 0x[0-9a-f]+ in (?P<function>.+) (?P<path>[^\s:()]+):{_LINE}(?::\d+)?")),
        # valgrind: "at 0x4005: f (cart.c:12)"
        Row(" 0x", re.compile(rf"(?:at|by) 0x[0-9A-F]+: (?P<function>.+) \((?P<path>[^()]+):{_LINE}\)")),
        # Xcode's reports: "3  shop  0x0000 -[Cart total] + 24 (Cart.m:7)"
        Row(" 0x", re.compile(
            rf"\d+ +.+ 0x[0-9a-f]+ (?P<function>.+) \((?P<path>[^()]+\.(?:mm?|c|cc|cpp|h)):{_LINE}\)"
        )),
        # Boost: "0# f() at /app/cart.cpp:7"; the sanitizer of undefined behaviour; assert()
        Row("# ", re.compile(
            rf"\d+# (?P<function>.+) at (?P<path>(?:(?! at )[^:])+\.(?:c|cc|cpp|cxx|hh?|hpp|ipp|mm?)):{_LINE}"
        )),
        Row(": runtime error: ", re.compile(rf"(?P<path>{_DRIVE}[^\s:]+):{_LINE}:\d+: runtime error: .*")),
        Row(": Assertion ", re.compile(
            rf"[^\s:]+: (?P<path>[^\s:]+):{_LINE}: (?P<function>.+): Assertion .* failed\."
        )),
    ),
)  # fmt: skip
