"""Libraries of languages and installed packages, by the paths of their files; pure."""

from __future__ import annotations

import re

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame

__all__ = ["not_ours"]

_STANDARD_GO = (
    "archive|bufio|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|fmt|go|"
    "hash|html|image|internal|io|iter|log|maps|math|mime|net|os|path|plugin|reflect|regexp|runtime|slices|sort|strconv|"
    "strings|sync|syscall|testing|text|time|unicode"
)
_LIBRARY = "the library of the language"

# Platform → patterns that are searched for in a path, and the reason.
_RULES: dict[str, list[tuple[re.Pattern[str], str]]] = {
    platform: [(re.compile(pattern), reason) for pattern, reason in rules]
    for platform, rules in {
        "python": [
            (r"[/\\](?:site|dist)-packages[/\\]", "an installed package"),
            (
                r"(?i:[/\\]lib(?:64)?[/\\]python\d[\d.]*[/\\]|[/\\]python[\d.]*[/\\]lib[/\\]|\.zip[/\\])",
                "Python's own library",
            ),
        ],
        "javascript": [(r"(?:^|[/\\])node_modules[/\\]", "an installed package")],
        "go": [
            (rf"^(?:.*[/\\]go[^/\\]*[/\\]src[/\\])?(?:{_STANDARD_GO})[/\\]", "Go's own library"),
            (r"(?:^|[/\\])pkg[/\\]mod[/\\]|^[^/\\]+\.[^@]*@v|[/\\]vendor[/\\]", "a third-party module"),
        ],
        "ruby": [
            (r"[/\\]gems[/\\][^/\\]+-\d[^/\\]*[/\\]|[/\\]bundler[/\\]gems[/\\]", "an installed package"),
            (r"[/\\]lib[/\\]ruby[/\\](?:\d|site_ruby|vendor_ruby)", _LIBRARY),
        ],
        "php": [(r"(?:^|[/\\])vendor[/\\]|^phar://.*/(?:composer|phpunit)", "an installed package")],
        "rust": [
            (r"^/rustc/|[/\\]rustlib[/\\]src[/\\]|^library[/\\](?:std|core|alloc)[/\\]", _LIBRARY),
            (r"[/\\]\.?cargo[/\\](?:registry|git)[/\\]", "an installed package"),
        ],
        "dart": [
            (r"^dart:|^dart-sdk/|^org-dartlang-sdk:|^package:(?:flutter|sky_engine)/", _LIBRARY),
            (r"[/\\]\.pub-cache[/\\]", "an installed package"),
        ],
        "elixir": [(r"(?:^|[/\\])deps[/\\]", "an installed package")],
        "csharp": [(r"^/_/src/|[/\\]dotnet[/\\]runtime[/\\]", _LIBRARY)],
        "swift": [(r"^Swift/|[/\\]\.build[/\\]checkouts[/\\]", "an installed package")],
    }.items()
}


def not_ours(frame: StackFrame) -> str:
    """Return the reason why the file of a frame is in no repository of an organization; empty when it may be in one."""
    path = frame.path
    return next((reason for pattern, reason in _RULES.get(frame.platform, ()) if pattern.search(path)), "")
