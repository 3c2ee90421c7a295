"""Every code block of every page is taken by a test, which runs or checks it, or is named here with a reason."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click
import pytest
import yaml
from click.testing import CliRunner
from flask.cli import run_command

from flask_grpcweb_scm.cli import grpc_cli
from flask_grpcweb_scm.client.cli import scm_grpc
from flask_grpcweb_scm.scm.cli import scm_cli
from tests.documents import PAGES, ROOT, Block, all_blocks
from tests.test_contributing import TARGETS

BLOCKS = [block for page in PAGES.values() for block in all_blocks(page)]
# Page and first line → why no test takes it.
LEFT_OUT: dict[tuple[str, str], str] = {
    ("deployment", "# apt install nginx postgresql redis-server git python3-venv curl"): "it changes the machine",
    ("deployment", "docker build --file deploy/Dockerfile --tag scm ."): "it needs Docker, and images of a registry",
    ("scaling", f"{'callers, webhooks of providers':>52}"): "it is a picture",
    ("scaling", f"{'callers and pushes':>38}      a GitHub Enterprise server: API, git, webhooks"): "it is a picture",
}
# Of others, they do what everybody knows.
HARMLESS = [
    ["mkdir"],
    ["cd"],
    ["python3", "-m", "venv", ".venv"],
    [".", ".venv/bin/activate"],
    ["pip", "install"],
    ["python", "-m", "pytest"],
    ["export"],
]


# Blocks that tests take


class Taken(NamedTuple):
    """The blocks that a call of a function of tests.documents returns."""

    function: str
    page: str
    language: str
    containing: str

    def has(self, block: Block) -> bool:
        if self.function == "all_blocks":
            return block.page == self.page
        if self.function == "files":
            return block.page == self.page and block.language == "python" and block.text.startswith("# ")
        return (block.page, block.language) == (self.page, self.language) and self.containing in block.text


def taken_by(source: str) -> Iterator[Taken]:
    """Yield what a module of tests takes from pages.

    :raises AssertionError: when it does not say so in words: this reads the source.
    """
    tree = ast.parse(source)
    pages = {
        target.id: page
        for node in tree.body
        if isinstance(node, ast.Assign) and (page := page_of(node.value, {}))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    functions = {"all_blocks", "block", "blocks", "files"}
    imported = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "tests.documents"
        for alias in node.names
    }
    names = {f"documents.{name}": name for name in functions} | {name: name for name in functions & imported}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = names.get(ast.unparse(node.func))
            if function:
                page = page_of(node.args[0], pages)
                words = [each.value for each in node.args[1:] if isinstance(each, ast.Constant)]
                assert page, f"line {node.lineno}: name the page, as PAGES['tutorial'] or by a constant"
                assert len(words) == len(node.args) - 1, f"line {node.lineno}: name the block by literals"
                yield Taken(function, page, *[*map(str, words), "", ""][:2])


def page_of(node: ast.expr, pages: dict[str, str]) -> str | None:
    match node:
        case ast.Subscript(
            value=ast.Name(id="PAGES") | ast.Attribute(attr="PAGES"), slice=ast.Constant(value=str(page))
        ):
            return page
        case ast.Name(id="README") | ast.Attribute(attr="README"):
            return "README"
        case ast.Name(id=name):
            return pages.get(name)
    return None


# Blocks of commands that exist


FLASK = click.Group(commands={"grpc": grpc_cli, "scm": scm_cli, "run": run_command})
PROGRAMS = {
    "flask": FLASK,
    "scm-flask": FLASK,
    "scm-grpc": scm_grpc,
}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a shell script, without comments, assignments before them and what they are piped to."""
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        begun += line
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:  # a quotation goes on in the next line
            begun += "\n"
            continue
        begun = ""
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        while "|" in words:
            end = words.index("|")
            yield words[:end]
            words = words[end + 1 :]
        if words:
            yield words
    assert not begun, begun


def exists(command: list[str]) -> bool:
    """Return True when a command of this package, of Flask or of the Makefile is there and has these options."""
    program, *arguments = command
    if program in PROGRAMS:
        return CliRunner().invoke(PROGRAMS[program], [*arguments, "--help"]).exit_code == 0
    if program == "make":
        return {word for word in arguments if "=" not in word} <= TARGETS
    return any(command[: len(known)] == known for known in HARMLESS)


def is_checked(block: Block) -> bool:
    return block.language == "sh" and all(map(exists, commands(block.text)))


# The rule


def test_every_block_is_run_or_checked_or_left_out_for_a_reason() -> None:
    taken = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if "documents" in (text := path.read_text()) and path.name not in {"documents.py", "test_blocks.py"}:
            taken |= set(taken_by(text))
    forgotten = {
        (block.page, block.text.splitlines()[0]): block.line
        for block in BLOCKS
        # Directives are for Sphinx, which stops at a mistake.
        if not block.language.startswith("{")
        if not any(each.has(block) for each in taken) and not is_checked(block)
    }
    assert forgotten.keys() - LEFT_OUT.keys() == set(), forgotten
    assert LEFT_OUT.keys() - forgotten.keys() == set()


def test_there_are_blocks() -> None:
    assert len(BLOCKS) > 100
    assert {block.language for block in BLOCKS} >= {"python", "sh", "console", "ts", "proto", "yaml", "json"}


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ('documents.blocks(PAGES["a"], "sh")', [("blocks", "a", "sh", "")]),
        ('documents.all_blocks(PAGES["a"])', [("all_blocks", "a", "", "")]),
        ('from tests.documents import blocks\nblocks(PAGES["a"], "sh")', [("blocks", "a", "sh", "")]),
        ('blocks(PAGES["a"], "sh")', []),
        ('documents.block(documents.README, "sh", "x")', [("block", "README", "sh", "x")]),
        ('PAGE = PAGES["a"]\ndef f():\n    documents.files(PAGE)["app.py"]', [("files", "a", "", "")]),
    ],
)
def test_what_a_test_takes_is_seen(source: str, taken: list[tuple[str, ...]]) -> None:
    assert [*taken_by(source)] == taken


@pytest.mark.parametrize("arguments", ["page, 'sh'", "PAGES['a'], 'sh', text", "PAGES[name], 'sh'"])
def test_what_cannot_be_read_from_a_test_is_refused(arguments: str) -> None:
    with pytest.raises(AssertionError, match="line 1: name the"):
        list(taken_by(f"documents.block({arguments})"))


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("flask grpc call X '{}' --stream | cat", False),
        ("A=b flask grpc call X '{}' --stream  # --strea", True),
        ("flask grpc call X --strea", False),
        ("flask grpc cal X", False),
        ("flask scm derive demo web --traceback \\\n x", True),
        ("scm-grpc list-repositories --organization 1", True),
        ("scm-grpc list-repositories --organisation 1", False),
        ("make lint types ARGS=x\nmake test", True),
        ("make lunch", False),
        ("rm -r /", False),
    ],
)
def test_a_command_that_does_not_exist_is_seen(line: str, good: bool) -> None:
    assert is_checked(Block("page", "sh", line, 1, "Section")) == good


# What all blocks of a language have to be


@pytest.mark.parametrize(
    ("language", "read"),
    [
        ("python", ast.parse),
        ("json", lambda text: json.loads(re.sub(r"\A// \S+\n", "", text))),
        ("yaml", yaml.safe_load),
        ("sh", lambda text: list(commands(text))),
    ],
)
def test_every_block_can_be_read(language: str, read: Callable[[str], object]) -> None:
    for block in BLOCKS:
        if block.language == language:
            read(block.text)
