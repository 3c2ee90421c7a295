"""Every code block of every page is run or checked by a test, or is named here with the reason."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from flask.cli import FlaskGroup

from flask_grpcweb_scm.client.cli import scm_grpc
from flask_grpcweb_scm.scm.cli import scm_cli
from tests.documents import PAGES, ROOT, Block, all_blocks

BLOCKS = [block for page in PAGES.values() for block in all_blocks(page)]
# The first line of a block → why no test runs it.
LEFT_OUT: dict[tuple[str, str], str] = {}
FETCHERS = {"block", "blocks", "files"}


# What tests fetch


def fetched(source: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield page, language, text and kind of the blocks that a test module takes by the functions of tests.documents.

    :raises AssertionError: when a call does not name its page and its language.
    """
    tree = ast.parse(source)
    pages = {
        target.id: page
        for node in tree.body
        if isinstance(node, ast.Assign) and (page := page_named(node.value, {}))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).removeprefix("documents.") in FETCHERS:
            page = page_named(node.args[0], pages)
            literals = [each.value if isinstance(each, ast.Constant) else "" for each in node.args[1:]]
            assert page, f"line {node.lineno}: name the page, as PAGES[…]"
            yield page, *(literals + ["", ""])[:2], ast.unparse(node.func).removeprefix("documents.")


def page_named(node: ast.expr, pages: dict[str, str]) -> str | None:
    """Return the page of ``PAGES["tutorial"]``, of ``README``, and of a name for one."""
    match node:
        case ast.Subscript(value=ast.Name(id="PAGES") | ast.Attribute(attr="PAGES"), slice=ast.Constant(value=str(page))):
            return page
        case ast.Name(id="README") | ast.Attribute(attr="README"):
            return "README"
        case ast.Name(id=name):
            return pages.get(name)
    return None


def test_list() -> None:
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text()
        if "tests.documents import" in text or "import documents" in text:
            try:
                found |= set(fetched(text))
            except AssertionError as e:
                print(path, e)
    for b in BLOCKS:
        if b.language.startswith("{"): continue
        ok = any(
            page == b.page and ((kind == "files" and b.language == "python" and re.match(r"# \S+\.py\n", b.text)) or (language == b.language and containing in b.text))
            for page, language, containing, kind in found
        )
        if not ok:
            print(b.page, b.language, b.line, b.text.splitlines()[0][:80])
