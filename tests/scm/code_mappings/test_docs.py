"""docs/code-mappings.md: its table is what happens, its code runs."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from flask_grpcweb_scm.client import ScmGrpcClient
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.testing import channel_for
from tests.combinations import ON_SQLITE
from tests.documents import PAGES, blocks
from tests.scm.code_mappings.test_derive import AddRepository, add_repository, derive
from tests.scm.support import Scm, Tenant

__all__ = ["add_repository"]  # a fixture

PAGE = PAGES["code-mappings"]


def rows() -> list[list[list[str]]]:
    """The texts in code of each cell, but for the heading."""
    table = PAGE.read_text().partition("<!-- outcomes -->\n")[2].partition("<!-- /outcomes -->")[0]
    cells = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return [[re.findall("`([^`]*)`", cell) or cell.split("`") for cell in row] for row in cells]


@ON_SQLITE
@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[1][0]} in {row[0][0]}")
def test_the_table(scm: Scm, ours: Tenant, add_repository: AddRepository, row: list[list[str]]) -> None:
    files, [path], [outcome], file, mapping = row
    add_repository("acme/api", files)
    response = derive(scm, ours, path)
    name = scm_pb2.PathOutcome.Outcome.Name(response.outcomes[0].outcome)
    assert name == "OUTCOME_" + outcome.strip().upper().replace(" ", "_")
    assert response.outcomes[0].source_path == file[0].strip()
    found = [text for m in response.mappings for text in (m.stack_root, m.source_root)]
    assert found == [text for text in mapping if text.strip() or len(mapping) > 1]


def examples() -> list[tuple[dict[str, list[str]], str, str]]:
    """The files of repositories, a stack trace, and what is said of it."""
    given = re.findall(r"<!-- example: (.*?) -->\n```text\n", PAGE.read_text())
    texts = blocks(PAGE, "text")
    assert len(texts) == 2 * len(given) == 2 * PAGE.read_text().count("<!-- example")
    found = []
    for repositories, trace, said in zip(given, texts[::2], texts[1::2], strict=True):
        rows = [row.split(" has ") for row in repositories.split(" · ")]
        found.append(({name: files.split() for name, files in rows}, trace, said))
    return found


@pytest.mark.parametrize(("repositories", "trace", "said"), examples())
def test_the_examples(
    app: Flask,
    ours: Tenant,
    add_repository: AddRepository,
    repositories: dict[str, list[str]],
    trace: str,
    said: str,
) -> None:
    for name, files in repositories.items():
        add_repository(name, files)
    result = app.test_cli_runner().invoke(args=["scm", "derive", "ours", "web", "--traceback", "-"], input=trace)
    # Ids depend on what was in the database before.
    ids = r"(code mapping|in repository) \d+"
    assert re.sub(ids, r"\1 N", result.output) == re.sub(ids, r"\1 N", said)


def test_the_code(app: Flask, ours: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    client = ScmGrpcClient.from_channel(channel_for(app))
    for code in blocks(PAGE, "python"):
        exec(code, {"client": client})
    assert capsys.readouterr().out.splitlines() == [
        "/srv/app/cart.py there is no repository to search",
        "./web/cart.tsx there is no repository to search",
        "<frozen runpy> the runtime made it: it names no file",
        "com.acme.Cart$Item there is no repository to search",
    ]


def test_the_commands(app: Flask, ours: Tenant) -> None:
    for line in blocks(PAGE, "sh")[0].splitlines():
        arguments = line.partition("#")[0].partition("flask ")[2].split()
        arguments[arguments.index("demo")] = "ours"
        if "--traceback" in arguments:
            arguments[arguments.index("--traceback") + 1] = "-"
        result = app.test_cli_runner().invoke(args=arguments, input='  File "x.py", line 1, in f\n')
        assert result.exit_code == 0, result.output
