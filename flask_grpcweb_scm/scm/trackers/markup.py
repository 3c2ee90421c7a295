"""Texts in the markup of trackers, to be read as they are: no command, mention, reference or hidden part among them.

Characters are escaped one by one, and not put into blocks of code: a sentence stays a sentence, with its links.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable

__all__ = ["MIN_ROOM", "one_line", "readable", "shortened", "to_html", "to_markdown", "to_wiki", "written_within"]

# Between a sign and a name: both are read as before, and are no mention or reference any more. Trackers look for these
# in the text that is left after escapes and entities are decoded.
ZERO_WIDTH = "\u200b"
TAB_COLUMNS = 4
MIN_ROOM = 20
"""Characters, for a text that is cut; less is nothing."""
# Cuts of a text by as much as it is too long, before one by half.
EXACT_CUTS = 3

_LINE_BREAK = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Controls, marks that turn the direction of a text, and "tag" characters, which nobody sees.
_UNREADABLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BLANKS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_SPACES = re.compile(r"^[ \t]+|[ \t]{2,}")
# Narrower than what trackers make links of: such a link is shown as its own address, up to its last character.
_URL = (
    r"(?<![^\s(\[{<>'\"|])https?://(?P<host>[A-Za-z0-9.-]{1,255})(?::[0-9]{1,5})?"
    r"(?:[/?#][A-Za-z0-9/._~%=&?+@:,#-]{0,1000})?(?<=[A-Za-z0-9/_=#-])(?=[.,;:!?)\]}>'\"]{0,9}(?:\s|\Z))"
)
_URL_OR_SIGN = re.compile(rf"{_URL}|[^\w\s]|_", re.IGNORECASE)
_SIGN = re.compile(r"[^\w\s]|_")


def readable(text: str) -> str:
    """Replace what nobody can read, and have one kind of line break."""
    return _UNREADABLE.sub("\ufffd", _LINE_BREAK.sub("\n", text))


def one_line(text: str) -> str:
    """Make a text without line breaks; one that has none, and no other control character, stays as it is."""
    return _BLANKS.sub(" ", text).strip() if _CONTROL.search(text) else text


def shortened(text: str, limit: int, *, in_utf16: bool = False) -> str:
    """Cut a text to a number of characters, with an ellipsis at its end.

    :param in_utf16: count units of UTF-16, of which an emoji has two.
    """
    if in_utf16:
        units = text.encode("utf-16-le", "surrogatepass")
        if len(units) <= 2 * limit:
            return text
        # Half of a character that is cut is left out.
        return units[: 2 * (limit - 1)].decode("utf-16-le", "ignore").rstrip() + "…"
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def written_within(text: str, room: int, write: Callable[[str], str]) -> str:
    """Write a text in markup, cut so far that what is written has room."""
    if room < MIN_ROOM:
        return ""
    text = shortened(text, room)
    for cut in itertools.count():
        written = write(text)
        if len(written) <= room:
            return written
        length = len(text) * room // (len(written) + 1)
        # A part that grows much in markup, before one that does not, would take many cuts.
        text = shortened(text, max(1, length if cut < EXACT_CUTS else length // 2))
    raise AssertionError("a text of one character fits")


def to_html(text: str) -> str:
    """Write a text in HTML."""
    return "<br>".join(_spaced(html.escape(line)) for line in readable(text).split("\n"))


# Markdown, of GitHub and of GitLab

_ESCAPED_IN_MARKDOWN = frozenset("\\`*[]|~")
_BLOCK = re.compile(r"[-+=:;/#]|[0-9]{1,9}[.)](?=\s|\Z)", re.ASCII)
_LOCAL_PART = re.compile(r"[\w.+-]*")
_EMOJI = re.compile(r":[\w+-]+:", re.ASCII)
# References and tables of contents of GitLab, which look like [epic:7], and inserted and deleted text.
_IN_BRACKETS = re.compile(r"[\[+-]|_*TOC_*\]|[a-z_]+:")


def to_markdown(text: str, *, host: str, line_break: str = "\n", dollar: str = "&#36;") -> str:
    """Write a text in Markdown.

    :param host: of the tracker, whose own pages are not linked to: such a link is a reference, too.
    :param line_break: within a paragraph.
    :param dollar: a dollar sign that begins no formula.
    """

    def sign(match: re.Match[str]) -> str:
        char, line, at = match[0], match.string, match.start()
        before, after = line[at - 1 : at], line[at + 1 : at + 2]
        if char == "_":
            return char if before.isalnum() and after.isalnum() else "\\_"
        if char == "." and line[max(at - 3, 0) : at].lower() == "www":
            return f"{ZERO_WIDTH}."
        if char == "$":
            return dollar + (ZERO_WIDTH if after.isdigit() else "")
        written = f"\\{char}" if char in _ESCAPED_IN_MARKDOWN else html.escape(char, quote=False)
        return written + (ZERO_WIDTH if _refers(char, line, at) else "")

    def url_or_sign(match: re.Match[str]) -> str:
        if match["host"] is None:
            return sign(match)
        if not _is_same_host(match["host"], host):
            return f"<{match[0]}>"
        return _SIGN.sub(sign, match[0].replace(":", f":{ZERO_WIDTH}"))

    def write(line: str) -> str:
        written = _spaced(_URL_OR_SIGN.sub(url_or_sign, line.rstrip()))
        block = _BLOCK.match(written)
        return f"{written[: block.end() - 1]}\\{written[block.end() - 1 :]}" if block else written

    return _joined([write(line) for line in readable(text).split("\n")], line_break)


def _refers(char: str, line: str, at: int) -> bool:
    """Tell whether a tracker could take a sign for the beginning of a mention, a reference or an emoji."""
    after = line[at + 1 : at + 2]
    match char:
        case "@":
            return after != "" and not after.isspace() and not _is_in_mailbox(line, at)
        case "#" | "!" | "^" | "&":
            return after.isalnum()
        case "~" | "%":
            return after.isalnum() or after in {'"', "{", "_"}
        case ":":
            return line.startswith("//", at + 1) or _EMOJI.match(line, at) is not None
        case "[":
            return _IN_BRACKETS.match(line, at + 1) is not None
        case "{":
            return after in {"+", "-"}
        case "*":
            return line.startswith("iteration:", at + 1)
        case "-":
            return line[max(at - 2, 0) : at].upper() == "GH" and after.isdigit()
    return False


def _is_in_mailbox(line: str, at: int) -> bool:
    """Tell whether an "@" is in the address of a mailbox; the second one of ``ann@a.example@team`` is not."""
    before = line[at - 1 : at]
    between = line[line.rfind("@", 0, at) + 1 : at]
    follows = len(between) < at and _LOCAL_PART.fullmatch(between) is not None
    return before.isascii() and before.isalnum() and not follows


def _is_same_host(name: str, host: str) -> bool:
    name = name.lower().strip(".")
    return name == host or name.endswith(f".{host}")


# Jira's wiki markup

_ALWAYS_IN_WIKI = frozenset("{}[]()|!*^~#@%")
_BETWEEN_WORDS_IN_WIKI = frozenset("_-+?")
_WIKI_BLOCK = re.compile(r"(?:h[1-6]|bq)\.", re.IGNORECASE)
# "\\" is a line break, so that a backslash cannot be escaped by another one.
_BACKSLASH = "&#92;"


def to_wiki(text: str) -> str:
    r"""Write a text in the markup of Jira Data Center: "\ Escape special character" (its help on text formatting)."""

    def sign(match: re.Match[str]) -> str:
        char, line, at = match[0], match.string, match.start()
        if match["host"] is not None:
            return char
        if char == "\\":
            return _BACKSLASH
        before, after = line[at - 1 : at], line[at + 1 : at + 2]
        within = before.isalnum() and after.isalnum()
        if char in _ALWAYS_IN_WIKI or (char in _BETWEEN_WORDS_IN_WIKI and not within):
            return f"\\{char}"
        if char in ":;" and after in {"D", "P", "p", "-", ")", "("}:
            return f"&#{ord(char)};"  # a face
        return html.escape(char, quote=False)

    def write(line: str) -> str:
        written = _spaced(_URL_OR_SIGN.sub(sign, line.rstrip()))
        block = _WIKI_BLOCK.match(written)
        return f"{written[: block.end() - 1]}&#46;{written[block.end() :]}" if block else written

    return "\n".join(write(line) for line in readable(text).split("\n"))


def _spaced(line: str) -> str:
    """Keep spaces that HTML would drop."""

    def keep(match: re.Match[str]) -> str:
        columns = match[0].expandtabs(TAB_COLUMNS)
        return "&nbsp;" * len(columns) if match.start() == 0 else "&nbsp;" * (len(columns) - 1) + " "

    return _SPACES.sub(keep, line)


def _joined(lines: list[str], line_break: str) -> str:
    """Join lines; between paragraphs there is no break but the empty line."""
    parts = [
        line + (line_break if line and after else "\n") for line, after in zip(lines, [*lines[1:], ""], strict=True)
    ]
    return "".join(parts).removesuffix("\n")
