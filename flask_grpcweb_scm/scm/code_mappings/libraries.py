"""Libraries of languages, and installed packages, by the folders in which they lie; pure.

Folders count by their whole names: ``/home/kim/goapps/src/context/`` is not in Go's library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Package", "installed_package", "library_of_module", "library_of_path"]


@dataclass(frozen=True, slots=True)
class Package:
    """A file of an installed package."""

    path: str
    """Path in the stack trace."""
    name: tuple[str, ...]
    """Segments of the name that its repository has in its own; empty for a language that imports by folders."""
    file: str
    """Path in the package; with the package's folder, where imports begin with it."""
    root: int
    """Number of characters of the path up to the package's folder, inclusive: no root of a mapping is shorter."""
    beside: str = ""
    """Path from the folder of packages on, when it may be a folder of the repository itself with such a name."""

    @property
    def rest(self) -> str:
        """Path below the folder of the package."""
        return self.path[self.root :].replace("\\", "/")


# --- Libraries ---

# Patterns are anchored, and end at a folder's name, so that their time is linear.
_NUMBER = r"\d+\.[\w.+-]+"
_MACHINE = r"(?:/(?:x64|x86|arm64))?"
_GO_STANDARD = (
    "archive|bufio|builtin|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|"
    "fmt|go|hash|html|image|index/suffixarray|internal/(?:abi|bytealg|chacha8rand|concurrent|coverage|cpu|fuzz|godebug|itoa|"
    "nettrace|oserror|poll|profile|race|reflectlite|runtime|singleflight|sync|syscall|testlog|trace|weak)|io|iter|log|maps|"
    "math|mime|net|os|path|plugin|reflect|regexp|runtime|slices|sort|strconv|strings|structs|sync|syscall|testing|text|time|"
    "unicode|unique|unsafe|vendor/golang\\.org|weak"
)
_PYTHON, _GO = (".py", ".pyx", ".pyi", ".pyc"), (".go", ".s")
_PYTHON_ZIP = re.compile(r"(?:.*/)?(?:python\d+|base_library)\.zip/", re.IGNORECASE)
# The library, extensions of its files, a text in all of their paths without which nothing is compared, the folders.
_LIBRARIES: list[tuple[str, tuple[str, ...], str, re.Pattern[str]]] = [
    # lib/python3.12/ of CPython, conda, pyenv, uv, Nix, Homebrew and Bazel; lib/pypy3.10/ and lib-python/3/ of PyPy.
    (
        "Python's own library",
        _PYTHON,
        "/lib",
        re.compile(r"(?:.*/)?(?:lib(?:32|64)?/(?:python|pypy)\d[\w.]*|lib-python/\d[\w.]*|lib_pypy)/"),
    ),
    ("Python's own library", _PYTHON, ".zip/", _PYTHON_ZIP),
    # Windows: Python312\\Lib, miniconda3\\envs\\ml\\Lib, hostedtoolcache\\windows\\Python\\3.12.1\\x64\\Lib.
    (
        "Python's own library",
        _PYTHON,
        "/lib/",
        re.compile(
            r"[a-z]:/(?:.*/)?(?:(?:c?python|pypy)-?\d(?:\d|\.\d)[\w.-]*|pythonsoftwarefoundation\.python\.[^/]*"
            rf"|python\d*/(?:current|{_NUMBER}){_MACHINE}|pyenv-win/versions/{_NUMBER}"
            r"|(?:\.?|mini|ana|micro)conda\d*(?:/envs/[^/]+)?|(?:mini|mamba)forge\d*(?:/envs/[^/]+)?"
            r"|micromamba(?:/envs/[^/]+)?)/lib/",
            re.IGNORECASE,
        ),
    ),
    # GOROOT/src/, with GOROOT as packagers and version managers name it.
    (
        "Go's own library",
        _GO,
        "/src/",
        re.compile(
            r"(?:.*/)?(?:go(?:lang|root)?|go-?\d[\w.-]*|[\w.~+-]{0,100}go_sdk[\w.~+-]{0,100}"
            rf"|(?:go|golang)/(?:{_NUMBER}|\d+){_MACHINE}|\.goenv/versions/{_NUMBER}"
            rf"|go(?:@[\w.]+)?(?:/{_NUMBER})?/libexec)/src/(?:{_GO_STANDARD})/",
            re.IGNORECASE,
        ),
    ),
    # Where nothing but Go's own tree is, whatever is in it.
    (
        "Go's own library",
        ("",),
        "/src/",
        re.compile(
            rf"(?:/usr/(?:local|lib|share)/go(?:lang|-?\d[\w.-]*)?|[a-z]:/program files(?: \(x86\))?/go"
            rf"|(?:.*/)?(?:go(?:@[\w.]+)?(?:/{_NUMBER})?/libexec|sdk/go\d[\w.-]*|\.goenv/versions/{_NUMBER}"
            rf"|hostedtoolcache/(?:[^/]+/)?go/{_NUMBER}{_MACHINE}))/src/",
            re.IGNORECASE,
        ),
    ),
    ("Go's own library", _GO, "", re.compile(rf"(?:{_GO_STANDARD})/")),  # -trimpath
    (
        "Node's own library",
        (".js",),
        "internal/",
        re.compile(r"internal/(?:bootstrap|crypto|deps|fs|main|modules|process|streams|timers|url|util)(?:/|\.js)"),
    ),
    ("Rust's own library", (".rs",), "rust", re.compile(r"(?:.*/)?(?:rustc/[0-9a-f]+|lib/rustlib/src/rust)/")),
    ("Rust's own library", (".rs",), "library/", re.compile(r"library/(?:std|core|alloc)/")),
    (
        "Ruby's own library",
        (".rb",),
        "/ruby/",
        re.compile(r"(?:.*/)?lib(?:64)?/ruby/(?:\d[\w.]*|site_ruby|vendor_ruby)/"),
    ),
    (
        "Dart's own library",
        (".dart",),
        "",
        re.compile(r"dart:|dart-sdk/|org-dartlang-sdk:|package:(?:flutter|sky_engine)/"),
    ),
    ("Dart's own library", (".dart",), "/flutter/packages/", re.compile("")),
    (".NET's own library", (".cs",), "/_/src/", re.compile(r"/_/src/(?:libraries|coreclr|mono|installer)/")),
    ("a header of the system", (".h", ".hpp", ".hh"), "/include/", re.compile(r"/usr/(?:local/)?include/")),
]
# The module of the runtime may be there too: "java.base@17/java.lang.Thread".
_JAVA_LIBRARY = re.compile(
    r"(?:[^/]*/)?(?:java|jdk)\.[\w.]+(?:@[^/]*)?/"
    r"|(?:[^/]*/){0,2}(?:java|javax|jdk|sun|com\.sun|kotlin|scala|clojure|groovy)\."
)


def library_of_path(path: str) -> str:
    """Return the library of a language that has a file; empty for none."""
    text = path.replace("\\", "/")
    if text.startswith("node:"):
        return "Node's own library"
    lower = text.lower()
    for name, extensions, part, pattern in _LIBRARIES:
        if lower.endswith(extensions) and part in lower and pattern.match(text):
            return name
    return ""


def library_of_module(module: str) -> str:
    """Return the library that has a Java class; empty for none."""
    return "the library of the language" if _JAVA_LIBRARY.match(module) else ""


# --- Installed packages ---

# What the folder of packages is called, and the rest of the path with the package's own name. The last folder counts.
_FOLDER = re.compile(
    r"(?P<imported>(?<![^/])(?:site|dist)-packages|(?<=\.)(?:zip|egg|whl|pyz|pex|phar))/"
    r"|(?<![^/])(?P<npm>node_modules)/"
    r"|(?<![^/])(?P<go>pkg/mod)/"
    r"|(?<![^/])(?P<ruby>gems)/(?=[^/]+-(?:\d|[0-9a-f]{7,}/))"
    r"|(?<![^/])(?P<versioned>registry/src/[^/]+|\.?pub-cache/hosted/[^/]+|\.?pub-cache/git)/(?=[^/]+-[0-9a-f])"
    r"|(?<![^/])(?P<checkout>\.cargo/git/checkouts|(?:\.build|SourcePackages)/checkouts)/"
    r"|(?<![^/])(?P<nuget>\.nuget/packages)/"
    r"|(?<![^/])(?P<vendor>vendor)/(?=[^/]+/[^/]+/.)"
    r"|(?<![^/])(?P<hex>deps)/(?=[^/]+/.)"
)
# Folders of which one is in all of their paths.
_PARTS = (
    "-packages/", ".zip/", ".egg/", ".whl/", ".pyz/", ".pex/", ".phar/",
    "node_modules/", "pkg/mod/", "gems/", "registry/src/",
    "pub-cache/", "checkouts/", ".nuget/", "vendor/", "deps/",
)  # fmt: skip
_GO_VERSION = re.compile(r"@v\d[^/@]*/")
_ONLY = {"vendor": (".php", *_GO), "hex": (".ex", ".exs", ".erl")}
"""Extensions for which a folder with such a common name holds packages."""


def installed_package(path: str) -> Package | None:
    """Return the package that has a file, by the folder where it is installed; None for a file that is in none."""
    text = path.replace("\\", "/")
    if ".zip/" in text and _PYTHON_ZIP.match(text):
        return None
    if text.endswith(_GO) and "." in text.partition("/")[0].strip(".") and _GO_VERSION.search(text):
        return _go_package(path, text, 0)  # -trimpath
    if not any(part in text for part in _PARTS):
        return None
    found, version = None, text.rfind("@v")
    for match in _FOLDER.finditer(text):
        kind = match.lastgroup or ""
        # The cache of modules has a version in every path.
        if text.endswith(_ONLY.get(kind, "")) and (kind != "go" or match.end() < version):
            found = match
    return None if found is None else _package(found.lastgroup or "", path, text, found)


def _package(kind: str, path: str, text: str, match: re.Match[str]) -> Package | None:
    start = match.end()
    below = text[start:]
    first, _, rest = below.partition("/")
    if kind == "imported":
        return Package(path, (), below, start + (len(first) + 1 if rest else 0))
    if kind == "npm":
        scope = first.removeprefix("@") if first.startswith("@") else ""
        name, _, file = rest.partition("/")
        if not scope:  # the name may be anybody's
            return _of_others(path, start)
        return Package(path, (scope, name), file, start + len(first) + len(name) + 2)
    if kind == "go" or (kind == "vendor" and text.endswith((".go", ".s"))):
        return _go_package(path, text, start) if "." in first else None
    if kind == "vendor":
        name, _, file = rest.partition("/")
        beside = text[match.start("vendor") :]
        return Package(path, (first, name), file, start + len(first) + len(name) + 2, beside)
    if kind == "nuget":
        return _of_others(path, start)
    if kind == "checkout" and "/.cargo/" in f"/{match[0]}":
        commit, _, rest = rest.partition("/")
        return Package(path, (_without_version(first),), rest, start + len(first) + len(commit) + 2)
    return Package(path, (_without_version(first) if kind != "hex" else first,), rest, start + len(first) + 1)


def _go_package(path: str, text: str, start: int) -> Package:
    """Make a package of ``github.com/acme/shared@v1.2.3/log/log.go``, or of such a path without a version."""
    below = text[start:]
    module = re.match(r"[^@]*@[^/]*/", below)
    # The module cache has "!a" for "A"; without a version, the first three segments are the repository as a rule.
    end = module.end() if module is not None else len("/".join(below.split("/", 3)[:3])) + 1
    name = re.sub("!(.)", lambda letter: letter[1].upper(), below[:end].partition("@")[0].strip("/"))
    return Package(path, tuple(name.split("/")), below[end:], start + end)


def _of_others(path: str, start: int) -> Package:
    return Package(path, (), "", start)


def _without_version(folder: str) -> str:
    version = re.search(r"-(?:v?\d+(?:\.|$)|[0-9a-f]{7,}$)", folder)
    return folder if version is None else folder[: version.start()]
