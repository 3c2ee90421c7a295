"""Frames of JavaScript and TypeScript: V8, Hermes, Firefox, Safari, their consoles, and test runners; pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import NO_FILE, Language, Row, Stream, TracebackFrame

__all__ = ["JAVASCRIPT", "is_bundle"]

_EXTENSION = re.compile(
    r"\.(?:[cm]?[jt]sx?|vue|svelte|astro|es6?|coffee|bundle|jsbundle|hbc|wasm|html?)(?:[?#].*)?", re.IGNORECASE
)
_OTHER_LANGUAGE = re.compile(
    r"\.(?:py\w?|rb|rake|php|phtml|go|rs|java|kts?|scala|sc|groovy|clj[cs]?|cs|fs|vb|ps1|csx|fsx|swift|dart|exs?|[eh]rl|"
    r"c|cc|cpp|cxx|h|hh|hpp|mm?|pl|pm|lua|jl|hs|ml|nim|zig|cr|sh)",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"(?:address at )?(?P<path>.+?)(?: line (?P<evaluated>\d{1,9}) > .+?)?:(?P<line>\d{1,9})(?P<column>:\d{1,9})?"
)
_OTHER_PLACE = re.compile(r":\d+\)|\)[\s|;]")  # the end of another frame in the same line
_NOWHERE = re.compile(
    r"<anonymous>(?::\d+)*|(?:\[?native(?: code)?\]?)(?::\d+)*|index \d+|<unknown>|self-hosted:.*|debugger eval code.*"
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_PAGE = re.compile(r"[^.]*|.*\.(?:php\d?|aspx?|jsp|do|cgi|cfm)", re.IGNORECASE)  # with scripts in it
_RUNTIME = re.compile(
    r"(?:node|ext|deno|bun):.+|(?:internal|native)/.+|(?:module|timers|events|fs|net|_stream_\w+|_http_\w+)\.js"
)

# The schemes of bundlers, which have a name or a layer of the app before the path.
_SCHEME = re.compile(
    r"file://(?=/)|webpack(?:-internal)?://[^/]*/(?:\([\w-]+\)/)?|turbopack://(?:/?\[[\w-]+\]/)?|"
    r"(?:rsc|about)://[^/]*/[^/]*/(?=[a-z-]+:)|vite-node://|ng://"
)
_WINDOWS_DRIVE = re.compile(r"/[A-Za-z]:/")

_BUNDLE_NAME = re.compile(
    r"(?:.*[.-])?bundle(?:\.\w+)*|.*\.(?:jsbundle|hbc)|.*[.-](?:min|chunk|prod(?:uction)?\.min)\.[cm]?js|"
    r"(?:.*[.-])?(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,40}(?:\.\w+)?\.[cm]?js|chunk-[A-Z0-9]{8}\.[cm]?js",
)
_BUNDLE_FOLDER = re.compile(r"(?:.*[/\\])?(?:\.next|\.nuxt|\.output|\.svelte-kit|_next[/\\]static)[/\\].*")
_FAR_RIGHT = 1000  # columns: nobody writes such lines


def is_bundle(path: str, column: int = 0) -> bool:
    """Tell whether a script is one that a bundler or minifier wrote, by its name or by the length of its lines."""
    file = re.split("[?#&]", path, maxsplit=1)[0].rstrip("/")
    name = file.replace("\\", "/").rpartition("/")[2][:200]
    return column > _FAR_RIGHT or bool(_BUNDLE_NAME.fullmatch(name) or _BUNDLE_FOLDER.fullmatch(file))


def _read_place(text: str, function: str, *, lenient: bool = False) -> TracebackFrame | None:
    """Read the place of a frame; None when it cannot be a place in a script.

    :param lenient: true when the line around it is one of V8's: files may have no extension.
    """
    if _NOWHERE.fullmatch(text) or text.startswith("eval at "):
        path = text if text.startswith(("<", "index ", "eval at ")) else text.partition(":")[0]
        return TracebackFrame(StackFrame(path, platform="javascript"), 0, function, NO_FILE)
    match = _PLACE.fullmatch(text)
    if (
        match is None
        or _OTHER_PLACE.search(text)
        or not _is_script(match["path"], lenient=lenient, column=bool(match["column"]))
    ):
        return None
    path = match["path"]
    line, column = int(match["evaluated"] or match["line"]), int((match["column"] or ":0")[1:])
    reason = "Node's own library" if _RUNTIME.fullmatch(path) else ""
    bundle = not reason and is_bundle(path, column)
    return TracebackFrame(StackFrame(_url_path(path), platform="javascript"), line, function, reason, bundle)


def _is_script(path: str, *, lenient: bool, column: bool) -> bool:
    if _RUNTIME.fullmatch(path):
        return True
    if ":" in path[2:] and not _URL.match(path):
        return False
    file = path.partition("?")[0]
    name = file.replace("\\", "/").rpartition("/")[2]
    if _EXTENSION.search(name) and _EXTENSION.fullmatch("." + name.rpartition(".")[2]):
        return True
    if _OTHER_LANGUAGE.fullmatch("." + name.rpartition(".")[2]) and "." in name and not _WEB.match(path):
        return False
    if _WEB.match(path):
        return column and "/" in path.partition("://")[2] and (_PAGE.fullmatch(name) is not None)
    if _URL.match(path):
        return column
    return lenient and column and "." not in name and path[:1] == "/"


def _url_path(url: str) -> str:
    """Return the path in the URL of a file or of a bundler's module; any other text unchanged."""
    path, found = url, True
    while found:
        path, count = _SCHEME.subn("", path, count=1) if _URL.match(path) else (path, 0)
        found = count > 0
    if path == url:
        return url
    path = unquote(path.partition("?")[0])
    return path[1:] if _WINDOWS_DRIVE.match(path) else path


def _read_v8(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    return _read_place(match["place"], match["function"], lenient=True)


def _read_v8_without_name(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    place = match["place"]
    function, parenthesis, rest = place.partition(" (")
    if parenthesis and "/" not in function and "\\" not in function:
        return _read_place(rest, function)  # cut before the closing parenthesis
    return _read_place(place, "", lenient=True)


def _read_named(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    return _read_place(match["place"], match["function"] or "")


def _read_indented(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    return _read_named(match, stream) if stream.indented else None


def _read_announced(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    return _read_named(match, stream) if stream.announced else None


_NAME = r"(?P<function>(?:(?:async|new|get|set|bound|static) )*[\w$.<>#/*\[\]]+(?: \[as [\w$.<>#]+\])?)"

JAVASCRIPT = Language(
    "JavaScript",
    "javascript",
    (
        # V8: "at f (x.js:1:2)", "at async Promise.all (index 0)", "at x.js:1:2"
        # Hermes: "at f (address at x.bundle:1:2)"
        Row("at", re.compile(
            r"at:? (?:async )?(?P<function>[^(]*(?:\(anonymous function\)[^(]*)?) \((?P<place>.+)\)(?:,? [{\[])?"
        ), _read_v8),
        Row("at", re.compile(r"at:? (?:async )?(?P<place>\S.*:\d{1,9})(?:,? [{\[])?"), _read_v8_without_name),
        # Firefox and Safari: "f@x.js:1:2", "async*f@…", "f/<@…", "global code@…"
        Row("@", re.compile(
            r"(?P<function>(?:global|module|eval|function) code|"
            r"(?:[A-Za-z. ]+\*)*(?:(?:get|set|bound) )?[^\s@\"'(),;=]*)@"
            r"(?P<place>(?:/|[A-Za-z]:\\|[a-z][a-z0-9+.-]*:/)\S.*|\S+|\[native code\]|debugger eval code.*)"
        ), _read_named),
        # Chrome's console: "f @ x.js:1"; Safari's: "f — x.js:1"
        Row(":", re.compile(rf"{_NAME} (?:@|—) (?P<place>\S+:\d{{1,9}})"), _read_named),
        # vitest, with its angle before the place: "f src/x.ts:1:2"
        Row("\u276f", re.compile(r"\u276f (?:(?P<function>[^\u276f]*) )?(?P<place>\S+:\d{1,9}:\d{1,9})"), _read_named),
        # React's components: "in Cart (at Cart.js:1)"
        Row("(at ", re.compile(r"in (?P<function>\S+) \(at (?P<place>\S+:\d{1,9})\)"), _read_named),
        # node --test, AVA, TAP: "f (x.js:1:2)"; Firefox's console: "f https://…/x.js:1:2"
        Row(":", re.compile(rf"(?:\u203a )?{_NAME} \((?P<place>[^\s()]+:\d{{1,9}}:\d{{1,9}})\)"), _read_indented),
        Row(":", re.compile(r"(?P<function>)(?P<place>(?:/|file://|node:)[^\s()]+:\d{1,9}:\d{1,9})"), _read_announced),
        Row("://", re.compile(rf"{_NAME} (?P<place>[a-z-]+://\S+:\d{{1,9}}(?::\d{{1,9}})?)"), _read_indented),
    ),
    # The heading of a stack in TAP, whose lines have no "at"
    announcement=r"stack: ?[|>]?-?",
)  # fmt: skip
