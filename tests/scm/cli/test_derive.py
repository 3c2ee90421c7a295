"""``flask scm derive``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask

from tests.scm.cli.test_rows import add, run
from tests.scm.code_mappings.test_derive import AddRepository, add_repository, stored
from tests.scm.support import GitRepository, Tenant

__all__ = ["add_repository"]  # a fixture

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/app/shop/cart.py", line 6, in total
    return json.loads(text)["total"]
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
  File "/srv/app/absent.py", line 7, in f
  File "<string>", line 1, in <module>
"""


def test_every_frame_is_told_what_was_found_and_why_not(
    app: Flask, ours: Tenant, add_repository: AddRepository, tmp_path: Path
) -> None:
    add_repository("monolith", ["shop/cart.py"])
    file = tmp_path / "trace.txt"
    file.write_text(TRACEBACK)
    runner = app.test_cli_runner()
    arguments = ["scm", "derive", "ours", "web", "--traceback", str(file)]
    dry = runner.invoke(args=[*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert stored(app) == []
    assert dry.output.splitlines() == [
        "/srv/app/shop/cart.py:6 in total",
        "    derived: shop/cart.py (it is shop/cart.py in monolith)",
        "/usr/lib/python3.11/json/__init__.py:346 in loads",
        "    skipped: Python's own library",
        "/srv/app/absent.py:7 in f",
        "    no match: no source file of monolith ends with srv/app/absent.py, or is an end of it",
        "<string>:1 in <module>",
        "    unsupported: the runtime made it: it names no file",
        "",
        "a code mapping, not stored: '/srv/app/' becomes '' in repository 2",
    ]
    result = runner.invoke(args=[*arguments, "--json"])
    answer = json.loads(result.stdout)
    assert stored(app) == [("/srv/app/", "")]
    assert [(m["stack_root"], m["source_root"]) for m in answer["mappings"]] == [("/srv/app/", "")]
    assert [(f["outcome"], f["line"], f["source_path"]) for f in answer["frames"]] == [
        ("derived", 6, "shop/cart.py"),
        ("skipped", 346, ""),
        ("no match", 7, ""),
        ("unsupported", 1, ""),
    ]


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (["ours", "web"], "nothing here", "the text has no frames of Python, Java, Kotlin, Scala, Groovy, Clojure"),
        (["ours", "absent"], TRACEBACK, "run: flask scm add-project ours absent"),
    ],
)
def test_what_cannot_work_says_the_way_out(
    app: Flask, ours: Tenant, arguments: list[str], text: str, message: str
) -> None:
    result = app.test_cli_runner().invoke(args=["scm", "derive", *arguments, "--traceback", "-"], input=text)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize("name", ["a\x1b]0;X\x07/x.py", "a\x9b31m/x.py", "a\u202eyp.x/x.py", "a\u2028b/x.py"])
def test_names_of_files_are_printed_without_effect(app: Flask, tmp_path: Path, name: str) -> None:
    repository = GitRepository(tmp_path / "repository")
    repository.write(name, "x\n")
    repository.write(f"b/{name}", "x\n")
    repository.commit()
    run(app, "add-organization", "demo")
    run(app, "add-project", "demo", "web")
    add(app, "import-git", "demo", str(repository.path), "--name", "r\x1b[2J")
    traceback = tmp_path / "traceback"
    # One is mapped, and the other ambiguous; the first of them has a frame with such a name.
    traceback.write_text(
        f'  File "/srv/{name}", line 1, in f\n  File "/srv/b/{name}", line 1, in f\n  File "/app/x.py", line 1\n'
    )
    result = run(app, "derive", "demo", "web", "--traceback", str(traceback))
    assert result.exit_code == 0
    assert all(line.isprintable() for line in result.output.split("\n"))


def test_a_bundle_says_that_its_source_map_is_missing(app: Flask, ours: Tenant) -> None:
    lines = ["/app/dist/main.4f2a91c0.js:1:2345", "https://cdn.example/main.js:1:23456", "/app/x.js:1:2"]
    text = "".join(f"    at run ({line})\n" for line in lines)
    arguments = ["scm", "derive", "ours", "web", "--traceback", "-", "--json"]
    frames = json.loads(app.test_cli_runner().invoke(args=arguments, input=text).stdout)["frames"]
    assert ["source map is missing" in frame["reason"] for frame in frames] == [True, True, False]
