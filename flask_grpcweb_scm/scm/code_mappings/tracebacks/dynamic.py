"""Frames of Ruby, PHP, Dart and Elixir; pure."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import (
    NO_FILE,
    Language,
    Row,
    Stream,
    TracebackFrame,
    matched_frame,
)

__all__ = ["DART", "ELIXIR", "PHP", "RUBY"]

_DRIVE = r"(?:[A-Za-z]:(?=[\\/]))?"
# A path in front of everything else has spaces only when it is absolute: else they are of a prefix.
_FREE = r"(?!')(?:(?:[A-Za-z]:|\.{1,2})?[\\/](?=[^\s/])[^:\"()|]*|[^\s:\"()]+)"
_LINE = r"(?P<line>\d{1,9})"


def _read_ruby(match: re.Match[str], stream: Stream) -> TracebackFrame:
    nowhere = match["path"].startswith(("<", "(")) or match["path"] == "-e"
    return matched_frame(match, "ruby", not_ours=NO_FILE if nowhere else "")


RUBY = Language(
    "Ruby",
    "ruby",
    (
        # "x.rb:7:in `f'", "1: from x.rb:7:in 'C#f'", with the text of the exception in the first line
        Row(":in ", re.compile(
            rf"(?:\d+: +)?(?:from )?(?P<path><internal:[^<>]+>|\([^()]*\)|{_FREE}):{_LINE}:in "
            r"[`'\u2018](?P<function>[^'\u2019]*)(?:['\u2019].*)?"
        ), _read_ruby),
        Row(" p:", re.compile(rf"c:\d+ p:\S+ s:\d+ e:\w+ \w+ +(?P<path>[^:]+):{_LINE}(?: \[FINISH\])?"), _read_ruby),
        # JRuby
        Row("at ", re.compile(rf"at (?P<function>[^()]+)\((?P<path>[^()]+\.(?:rb|rake|erb)):{_LINE}\)")),
    ),
)  # fmt: skip


_PHP_PATH = rf"(?P<path>{_DRIVE}[^:()]+\.(?:php\d?|phtml|inc|phar))"


def _read_internal(match: re.Match[str], stream: Stream) -> TracebackFrame:
    return TracebackFrame(StackFrame("[internal function]", platform="php"), 0, match["function"], NO_FILE)


def _read_xdebug(match: re.Match[str], stream: Stream) -> TracebackFrame:
    return replace(matched_frame(match, "php"), outermost_first=True)


PHP = Language(
    "PHP",
    "php",
    (
        # "#0 /x.php(51): f()"; eval has "(12) : eval()'d code" before the number
        Row("(", re.compile(
            rf"#\d+ (?P<path>(?:[A-Za-z]:|phar:/)?[\\/][^()]+|[^\s()]+)\({_LINE}\)(?: : .*)?: (?P<function>.+)"
        )),
        Row("[internal", re.compile(r"#\d+ \[internal function\]: (?P<function>.+)"), _read_internal),
        Row("thrown in ", re.compile(rf"thrown in (?P<path>.+) on line {_LINE}")),
        Row(" in ", re.compile(
            r"(?:PHP )?(?:Fatal error: +)?(?:(?:Uncaught|Next) \S|[\w\\]*(?:Error|Exception): ).* in "
            rf"(?P<path>(?:(?! in )[^:])+\.\w+):{_LINE}"
        )),
        Row(" on line ", re.compile(
            rf"(?:PHP )?(?:Fatal|Parse) error: (?:(?!#\d).)* in (?P<path>(?:(?! in )[^:]|:(?=[\\/]))+) on line {_LINE}"
        )),
        # Xdebug: "1. f() /x.php:51"
        Row(". ", re.compile(
            rf"(?:PHP +)?(?:[\d.]+ +\d+ +)?\d+\. (?P<function>\S.*\)) (?P<path>[^\s:]+):{_LINE}"
        ), _read_xdebug),
        # Symfony and Laravel: "at f() (x.php:51)", "f() at x.php:51", "at x.php:51", "1  x.php:51"
        Row(".p", re.compile(rf"at (?P<function>[^()]*(?:\([^()]*\))?) ?\({_PHP_PATH}:{_LINE}\)")),
        Row(".p", re.compile(rf"(?P<function>\S*\(\)) at {_PHP_PATH}:{_LINE}")),
        Row(".p", re.compile(rf"\({_PHP_PATH}:{_LINE}\)")),
        Row(".p", re.compile(rf"(?:at|\d{{1,4}} ) *{_PHP_PATH}:{_LINE}")),
        Row('[object] (', re.compile(rf'.*"exception":"\[object\] \((?:(?! at ).)* at {_PHP_PATH}:{_LINE}\)')),
        # PHPUnit: a line that has nothing else
        Row(".php:", re.compile(rf"(?P<path>(?:{_DRIVE}\\|/)[^:()]+\.php):{_LINE}")),
    ),
)  # fmt: skip


def _read_dart(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    found = matched_frame(match, "dart")
    path = re.sub(r"^https?://[^/]+/(?=packages/)", "", found.frame.path)
    if re.fullmatch(r"(?:dart|dart-sdk|https?):?.*", path):
        return replace(found, not_ours="Dart's own library") if path.startswith("dart") else found
    package = re.fullmatch(r"(?:package:|packages/)(?P<name>[\w.]+)/(?P<rest>.+)", path)
    if package is not None:
        # A package's public files are in its folder "lib".
        frame = StackFrame(
            f"package:{package['name']}/{package['rest']}", "", f"{package['name']}/lib/{package['rest']}", "dart"
        )
        return replace(found, frame=frame)
    path = re.sub(r"^(?:file|org-dartlang-[a-z]+)://", "", path)
    if not path.endswith(".dart"):
        return None
    path = unquote(path)
    return replace(found, frame=StackFrame(path[1:] if re.match(r"/[A-Za-z]:/", path) else path, platform="dart"))


DART = Language(
    "Dart",
    "dart",
    (
        # "#0      f (package:shop/cart.dart:7:9)"
        Row("#", re.compile(
            rf"#\d+ +(?P<function>\S(?:(?! #\d).)*) \((?P<path>{_DRIVE}(?:https?://[^/\s]+|[a-z-]*:)?[^:()]+):{_LINE}(?::\d+)?\)"
        ), _read_dart),
        # Flutter, the widget at fault: "Cart Cart:file:///app/lib/cart.dart:7:9"
        Row(".dart:", re.compile(rf"(?P<function>\w+) [\w.<>]+:(?P<path>file://[^:]+\.dart):{_LINE}:\d+"), _read_dart),
        # package:stack_trace, and browsers: "package:shop/cart.dart 7:9  f"
        Row(".dart ", re.compile(
            r"(?P<path>(?:package:|dart:|dart-sdk/|file://|https?://)?[^\s:]+\.dart) "
            rf"{_LINE}(?::\d+)? +(?P<function>\S.*)"
        ), _read_dart),
    ),
)  # fmt: skip


_ERLANG_LIBRARY = re.compile(r"elixir|stdlib|kernel|erts|mix|ex_unit|iex|eex|logger|compiler|ssl|crypto|inets")


def _read_elixir(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    if re.match(r"(?:warning|error|note|info)\b", match["function"]):
        return None
    library = match["app"] and _ERLANG_LIBRARY.fullmatch(match["app"])
    return matched_frame(match, "elixir", not_ours="the library of the language" if library else "")


ELIXIR = Language(
    "Elixir",
    "elixir",
    (
        # "(shop 0.1.0) lib/shop/cart.ex:7: Shop.Cart.total/1"
        Row(": ", re.compile(
            r"(?:└─ )?(?:\((?P<app>[\w.-]+)(?: [^()]*)?\) )?"
            rf"(?P<path>{_FREE}\.(?:exs?|l?eex|heex|[ehxy]rl)):{_LINE}(?::\d+)?: "
            # The arity or the arguments are the end: warnings of the compiler have other ones.
            r"(?P<function>.*(?:/\d+|\)))"
        ), _read_elixir),
        # A stack trace as a term: "{Shop.Cart, :total, 1, [file: ~c"lib/shop/cart.ex", line: 7]}"
        Row("file", re.compile(
            r"(?:[^\"']*[\[{(])?(?:(?P<function>[^{}\[\]]+), ?)?"
            r"\[\{?file(?:: |,) ?(?:~c)?[\"'](?P<path>[^\"']+)[\"']\}?, ?"
            rf"\{{?line(?:: |,) ?{_LINE}\D*"
        ), lambda match, stream: matched_frame(match, "elixir")),
    ),
)  # fmt: skip
