"""Pages of documentation, taken apart: what the tests run of them, and what every page has to keep."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = {page.stem: page for page in [*ROOT.glob("*.md"), *DOCS]}


class Block(NamedTuple):
    """A code block of a page."""

    page: str
    language: str
    text: str
    line: int
    """The number of its first line."""
    section: str
    """The last heading before it, of the second level."""


def all_blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order; they are between lines of three backticks.

    :raises ValueError: when one is written otherwise, or does not end.
    """
    found: list[Block] = []
    lines = page.read_text().splitlines(keepends=True)
    begun: tuple[str, int] | None = None
    section = ""
    for number, line in enumerate(lines, 1):
        if begun:
            language, start = begun
            if line.startswith("```"):
                found.append(Block(page.stem, language, "".join(lines[start : number - 1]), start + 1, section))
                begun = None
        elif line.startswith("## "):
            section = line[3:].strip()
        elif match := re.fullmatch(r"```([\w-]*|\{[\w-]+\}.*)\n", line):
            begun = (match[1], number)
        elif re.match(r"\s*(```|~~~)", line):
            raise ValueError(f"{page.name}:{number}: begin a code block with ``` and at most a language")
    if begun:
        raise ValueError(f"{page.name}:{begun[1]}: the code block does not end")
    return found


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return [each.text for each in all_blocks(page) if each.language == language]


def block(page: Path, language: str, containing: str) -> str:
    """The only code block that contains a text."""
    (found,) = [code for code in blocks(page, language) if containing in code]
    return found


def files(page: Path) -> dict[str, str]:
    """The code blocks that begin with the name of a file in a comment, by that name."""
    named = [(re.match(r"# (\S+\.py)\n", code), code) for code in blocks(page, "python")]
    return {match[1]: code for match, code in named if match}


def dead_links(page: Path) -> list[str]:
    """The links to files that are not there, and to sections that are not in a file."""
    links = re.findall(r"\]\(([^)#:\s]*)(#[^)\s]*)?\)", page.read_text())
    return [path + anchor for path, anchor in links if not _is_there(page.parent / path if path else page, anchor)]


def _is_there(target: Path, anchor: str) -> bool:
    return target.exists() and (not anchor or anchor[1:] in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the sections of a page."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def unknown_keys(page: Path) -> set[str]:
    """The ``GRPC_…`` keys that there are not."""
    from flask_grpcweb_scm.settings import Settings  # what it imports is not there for the peers

    known = {f"GRPC_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    return set(re.findall(r"(?<![A-Z_])GRPC_[A-Z_]+\b", page.read_text())) - known - {"GRPC_TOKEN"}
