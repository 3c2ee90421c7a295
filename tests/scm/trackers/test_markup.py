"""Texts in the markup of trackers: a table of each one's own syntax, and a renderer of Markdown as the judge."""

from __future__ import annotations

import re
import sys
import time
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_grpcweb_scm.scm.providers import Credential
from flask_grpcweb_scm.scm.trackers.azure_devops import AzureDevOps
from flask_grpcweb_scm.scm.trackers.github import GitHub
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab
from flask_grpcweb_scm.scm.trackers.issues import NewIssue
from flask_grpcweb_scm.scm.trackers.jira import JiraDataCenter
from flask_grpcweb_scm.scm.trackers.markup import one_line, readable, shortened, to_html, to_markdown, to_wiki
from flask_grpcweb_scm.scm.trackers.tracker import MAX_WRITTEN, Tracker

Z = "\u200b"
HOST = "git.example"


def github(text: str) -> str:
    return to_markdown(text, host=HOST)


def gitlab(text: str) -> str:
    return to_markdown(text, host=HOST, line_break="  \n", dollar="\\$")


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        # What has no meaning in Markdown stays as it is.
        ("It breaks.", "It breaks."),
        ("KeyError: 'x' in app/shop_cart.py (line 3), 50 % of the time; e-mail ann@example.com!", None),
        ("one\n\ntwo", None),
        ("see https://errors.example/issues/7?a=_b_#c.", "see <https://errors.example/issues/7?a=_b_#c>."),
        # Mentions
        ("@admin", f"@{Z}admin"),
        ("(@all)", f"(@{Z}all)"),
        ("ann@a.example@team, (bob@a.example)", f"ann@a.example@{Z}team, (bob@a.example)"),
        ("x_@team/a", f"x\\_@{Z}team/a"),
        ("é@admin", f"é@{Z}admin"),
        ("&#64;admin", f"&amp;#{Z}64;admin"),
        ("\\@admin", f"\\\\@{Z}admin"),
        ("https://a.example@admin", f"https:{Z}//a.example@admin"),
        # References and closing keywords
        ("fixes #1", f"fixes #{Z}1"),
        ("closes o/r#1, GH-1", f"closes o/r#{Z}1, GH-{Z}1"),
        (f"fixes https://{HOST}/o/r/issues/1", f"fixes https:{Z}//{HOST}/o/r/issues/1"),
        (f"HTTP://WWW.{HOST.upper()}./o", f"HTTP:{Z}//WWW{Z}.GIT.EXAMPLE./o"),
        (f"www.{HOST}/o/r/issues/1", f"www{Z}.{HOST}/o/r/issues/1"),
        ("!1 &2 %3 ~bug ^alert#4", f"!{Z}1 &amp;{Z}2 %{Z}3 \\~{Z}bug ^{Z}alert#{Z}4"),
        ('%"next week" ~"a b"', f'%{Z}"next week" \\~{Z}"a b"'),
        ("[epic:7] [[_TOC_]] *iteration:7", f"\\[{Z}epic:7\\] \\[{Z}\\[{Z}\\_TOC\\_\\]\\] \\*{Z}iteration:7"),
        # Commands
        ("/close", "\\/close"),
        ("a\n/assign @admin\n  /close", f"a\n\\/assign @{Z}admin\n&nbsp;&nbsp;/close"),
        ("a\r/close\x0b/close\u2028/close", "a\n\\/close\n\\/close\n\\/close"),
        # What hides
        ("<!-- x -->", "&lt;!-- x --&gt;"),
        ("<details><summary>", "&lt;details&gt;&lt;summary&gt;"),
        ("[a](https://evil.example)", "\\[a\\](<https://evil.example>)"),
        ("[a]: javascript:alert(1)", "\\[a\\]: javascript:alert(1)"),
        ("![x](y)", "!\\[x\\](y)"),
        ("a\u202eb\x1b[31mc\U000e0041", "a\ufffdb\ufffd\\[31mc\ufffd"),
        # What looks otherwise
        ("# 1\n> a\n- b\n+ c\n1. d\n1) e", "\\# 1\n&gt; a\n\\- b\n\\+ c\n1\\. d\n1\\) e"),
        ("a\n===\nb\n---\n~~~\n```", "a\n\\===\nb\n\\---\n\\~\\~\\~\n\\`\\`\\`"),
        ("a|b\n-|-", "a\\|b\n\\-\\|-"),
        ("*a* _b_ __c__ `d` ~e~", f"\\*a\\* \\_b\\_ \\_\\_c\\_\\_ \\`d\\` \\~{Z}e\\~"),
        (":smile: a::b:", f"\\:{Z}smile: a::{Z}b:"),
        ("&lt;", f"&amp;{Z}lt;"),
        ("$x$", "&#36;x&#36;"),
        ("{+a+} [-b-]", f"{{{Z}+a+}} \\[{Z}-b-\\]"),
        ("    a\tb\n\tc    d", "&nbsp;&nbsp;&nbsp;&nbsp;a\tb\n&nbsp;&nbsp;&nbsp;&nbsp;c&nbsp;&nbsp;&nbsp; d"),
        ("a \\\nb", "a \\\\\nb"),
    ],
)  # fmt: skip
def test_text_in_the_markdown_of_github(text: str, markdown: str | None) -> None:
    assert github(text) == (text if markdown is None else markdown)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a\nb\n\nc", "a  \nb\n\nc"),
        ("a\n/close\n/assign @admin", f"a  \n\\/close  \n\\/assign @{Z}admin"),
        ("$x$ $`y`$", "\\$x\\$ \\$\\`y\\`\\$"),
        ("---\ntitle: x\n---", "\\---  \ntitle: x  \n\\---"),
        ("::include{file=x}", "\\::include{file=x}"),
        (">>>\na", "&gt;&gt;&gt;  \na"),
    ],
)
def test_text_in_the_markdown_of_gitlab(text: str, markdown: str) -> None:
    assert gitlab(text) == markdown


@pytest.mark.parametrize(
    ("text", "wiki"),
    [
        ("It breaks.\n\nKeyError: x-y, snake_case/a.py", None),
        ("see https://errors.example/a_b?c=-d-", None),
        ("[~admin]", "\\[\\~admin\\]"),
        ("[a|https://evil.example]", "\\[a\\|https://evil.example\\]"),
        ("!https://evil.example/x.png!", "\\!https://evil.example/x.png\\!"),
        ("{code}{noformat}{color:white}", "\\{code\\}\\{noformat\\}\\{color:white\\}"),
        ("*a* _b_ -c- +d+ ^e^ ~f~ ??g??", "\\*a\\* \\_b\\_ \\-c\\- \\+d\\+ \\^e\\^ \\~f\\~ \\?\\?g\\?\\?"),
        ("h1. a\nBQ. b", "h1&#46; a\nBQ&#46; b"),
        ("* a\n# b\n- c\n----", "\\* a\n\\# b\n\\- c\n\\-\\-\\-\\-"),
        ("||a||\n|b|", "\\|\\|a\\|\\|\n\\|b\\|"),
        ("C:\\\\new \\{x", "C:&#92;&#92;new &#92;\\{x"),
        ("(x) :) :D ;) :-(", "\\(x\\) &#58;\\) &#58;D &#59;\\) &#58;\\-\\("),
        ("<b> &lt;", "&lt;b&gt; &amp;lt;"),
        ("  a", "&nbsp;&nbsp;a"),
    ],
)
def test_text_in_the_markup_of_jira(text: str, wiki: str | None) -> None:
    assert to_wiki(text) == (text if wiki is None else wiki)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\n\n  b", "a<br><br>&nbsp;&nbsp;b"),
        ("<img src=x onerror='y'> &amp;", "&lt;img src=x onerror=&#x27;y&#x27;&gt; &amp;amp;"),
        ("<!-- x -->\r\n@admin", "&lt;!-- x --&gt;<br>@admin"),
    ],
)
def test_text_in_html(text: str, written: str) -> None:
    assert to_html(text) == written


def test_one_line() -> None:
    assert one_line("KeyError: x\n/close\r\n\x1b /assign @admin\u2028") == "KeyError: x /close /assign @admin"
    assert one_line("  as   it is\u202e ") == "  as   it is\u202e "


def test_shortened() -> None:
    assert (shortened("abcd", 4), shortened("abcde", 4), shortened("ab de", 4)) == ("abcd", "abc…", "ab…")


# A renderer as the judge


class Page(HTMLParser):
    """What a person reads of a page, its text outside links, and what is no paragraph, break or link of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.read = self.plain = ""
        self.others: list[object] = []
        self._link: tuple[str, str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.read, self.plain = self.read + "\n", self.plain + "\n"
        elif tag == "a":
            # What is around a link is no word together.
            self._link, self.plain = (str(dict(attrs)["href"]), ""), self.plain + " "
        elif tag != "p":
            self.others.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self.read, self.plain = self.read + "\n\n", self.plain + "\n"
        elif tag == "a" and self._link is not None:
            href, text = self._link
            if href not in {text, f"mailto:{text}"}:
                self.others.append((href, text))
            self._link = None

    def handle_data(self, data: str) -> None:
        if data == "\n":
            return
        self.read += data.replace("\n", "")
        if self._link is None:
            self.plain += data
        else:
            self._link = self._link[0], self._link[1] + data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)


PIECES = [
    "@",
    "#",
    "!",
    "~",
    "%",
    "$",
    "&",
    "^",
    "*",
    "_",
    "`",
    "```",
    "~~~",
    "<!--",
    "-->",
    "<details>",
    "<b>",
    "</b>",
    "[",
    "](",
    ")",
    "(",
    "]",
    "[x]:",
    "http://",
    "https://a.example/c_d",
    "www.",
    "/close",
    "@admin",
    "#1",
    "|",
    "|-|",
    "---",
    "===",
    "\\",
    "1.",
    "1)",
    "-",
    "+",
    ">",
    "&lt;",
    "&#64;",
    "a",
    "b1",
    "é",
    "x_y",
    "__init__",
    ":smile:",
    ":",
    '"',
    "mailto:",
    "a@b.example",
    "{",
    "+",
    "}",
    "<",
    "$x$",
    "[^1]",
    "[x]",
    "![",
    "{{",
    "GH-1",
    "=",
    ".",
    "::",
    "ftp://x_y_",
    "xmpp:a@b.example/c",
    "https://",
    "javascript:",
    "https://x.example?a=_b_&copy=1",
    "@all",
    "https://git.example/o/r/issues/1",
    "<https://x.example>",
    ":-",
]
BREAKS = [" ", "  ", "     ", "\n", "\n\n", "\r", "\x0b", "\t", Z]


@example(":-\nhttp://javascript:")
@given(st.lists(st.sampled_from([*PIECES, *BREAKS]), max_size=14).map("".join))
def test_a_person_reads_what_was_sent(text: str) -> None:
    cmark = pytest.importorskip("cmarkgfm.cmark", reason="GitHub's Markdown")
    extensions = ["table", "autolink", "strikethrough", "tasklist"]
    options = cmark.Options.CMARK_OPT_UNSAFE | cmark.Options.CMARK_OPT_FOOTNOTES
    for markdown, breaks in ((github(text), cmark.Options.CMARK_OPT_HARDBREAKS), (gitlab(text), 0)):
        page = Page(cmark.markdown_to_html_with_extensions(markdown, options=options | breaks, extensions=extensions))
        assert page.others == []
        assert visible(page.read) == visible(text)
        assert re.search(r"(?<![A-Za-z0-9_])@\w|#\d|!\d|\bGH-\d|:[a-z0-9_+-]+:", page.plain, re.ASCII) is None
        assert re.search(r"^\s*/", markdown, re.MULTILINE) is None


def visible(text: str) -> str:
    """Leave out what nobody sees: how many spaces, and how many empty lines."""
    text = re.sub(r"[ \t\xa0]+", " ", readable(text).replace(Z, ""))
    return re.sub(r"\n{2,}", "\n\n", re.sub(r" *\n", "\n", text)).strip()


@pytest.mark.needs("time")
@pytest.mark.parametrize(
    "text", ["@", "[", "'", "\t", "a", "\t" * 2700 + "a", "\t" * 43_600 + "@", "\t" * 1240 + "[", "x\ty" * 9000 + "a"]
)
@pytest.mark.parametrize("tracker", [GitHub, GitLab, JiraDataCenter, AzureDevOps])
def test_a_long_text_is_written_few_times(tracker: type[Tracker], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    write = tracker.write
    monkeypatch.setattr(tracker, "write", lambda self, text: lengths.append(len(text)) or write(self, text))
    at = tracker("https://tracker.example", Credential(token="x"), deadline=time.monotonic() + 60)
    description = text + text[-1] * (2**20 - len(text))
    body = at.body(NewIssue("title", description, {}, "marker", datetime.now(timezone.utc)))
    assert body.endswith("Reference: marker")
    assert len(body) <= min(at.max_body_characters or sys.maxsize, MAX_WRITTEN + 100)
    assert len(lengths) <= 12
    assert sum(lengths) <= 6 * MAX_WRITTEN
