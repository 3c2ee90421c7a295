"""``flask scm derive``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask

from flask_grpcweb_scm.scm import Repository, db
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import add, run
from tests.scm.code_mappings.test_derive import AddRepository, add_repository, stored
from tests.scm.service.test_suspects import TRACE, Shop, shop
from tests.scm.service.test_suspects import add as add_shop
from tests.scm.support import GitRepository, Tenant

__all__ = ["add_repository", "shop"]  # fixtures

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


@ON_SQLITE
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


# --- Suspects ---

NEAREST = "the nearest to the failure, 9 hours before the error was seen first"
BEHIND = "1 line behind the nearest to the failure, 8 hours before the error was seen first"
SUSPECTS = f"""\
suspect 1: {{culprit}} faster totals
    Bob <bob@example.com>, 2020-09-13T14:26:40+00:00, acme/shop
    it last changed line 2 of shop/cart.py (frame 2), {NEAREST}
    https://github.com/acme/shop/commit/{{culprit}}

suspect 2: {{decoy}} tidy
    Ann Author <ann@example.com>, 2020-09-13T15:26:40+00:00, acme/shop
    it last changed line 6 of shop/cart.py (frame 1) and line 2 of shop/views.py (frame 0), {BEHIND}
    https://github.com/acme/shop/commit/{{decoy}}

frame 0: /app/shop/views.py:2 in show
    shop/views.py in acme/shop at {{tip:.12}}
    last changed by {{decoy:.12}}, Ann Author <ann@example.com>
frame 1: /app/shop/cart.py:6 in mean
    shop/cart.py in acme/shop at {{tip:.12}}
    last changed by {{decoy:.12}}, Ann Author <ann@example.com>
frame 2: /app/shop/cart.py:2 in total
    shop/cart.py in acme/shop at {{tip:.12}}
    last changed by {{culprit:.12}}, Bob <bob@example.com>
frame 3: /usr/lib/python3.12/json/__init__.py:346 in loads
    no suspect: Python's own library
"""


def test_the_suspects_of_a_trace_are_printed(app: Flask, ours: Tenant, shop: Shop) -> None:
    add_shop(app, ours, "acme/shop", shop.git)
    arguments = ["derive", "ours", "web", "--suspects", "--traceback", "-", "--first-seen", "2020-09-14"]
    result = app.test_cli_runner().invoke(args=["scm", *arguments, "--dry-run"], input=TRACE)
    assert result.exit_code == 0, result.output
    assert result.output == SUSPECTS.format(culprit=shop.culprit, decoy=shop.decoy, tip=shop.tip)
    assert stored(app) == []
    answer = json.loads(app.test_cli_runner().invoke(args=["scm", *arguments, "--json"], input=TRACE).stdout)
    assert stored(app) == [("/app/", "")]
    assert [suspect["commit_id"] for suspect in answer["suspects"]] == [shop.culprit, shop.decoy]
    assert answer["suspects"][0]["author"] == {"name": "Bob", "email": "bob@example.com"}
    assert [frame["blame_commit_id"] for frame in answer["frames"]] == [shop.decoy, shop.decoy, shop.culprit, ""]
    assert answer["frames"][2]["source_url"].endswith(f"/blob/{shop.tip}/shop/cart.py#L2")


@ON_SQLITE
def test_of_a_long_log_the_end_is_read(app: Flask, ours: Tenant, shop: Shop) -> None:
    add_shop(app, ours, "acme/shop", shop.git)
    arguments = ["scm", "derive", "ours", "web", "--suspects", "--traceback", "-"]
    for noise in ("1234567890 nothing happened\n" * 9000, "x" * 300_000 + "\n"):
        result = app.test_cli_runner().invoke(args=arguments, input=noise + TRACE)
        assert result.output.startswith(f"suspect 1: {shop.culprit} faster totals\n")


def test_paths_of_frames_are_a_trace_too(app: Flask, ours: Tenant, shop: Shop) -> None:
    row = add_shop(app, ours, "acme/shop", shop.git)
    paths = ["/app/shop/views.py:2", "/app/shop/cart.py:2", "/app/shop/cart.py"]
    for name in (str(row), "acme/shop"):
        result = run(app, "derive", "ours", "web", *paths, "--suspects", "--release", f"{name}={shop.culprit[:9]}")
        assert result.exit_code == 0, result.output
        assert f"suspect 1: {shop.culprit} faster totals\n" in result.output
        assert "no suspect: its line is unknown\n" in result.output
    result = run(app, "derive", "ours", "web", paths[1], "--suspects", "--max-age", "0.5")
    assert result.output.startswith("no commit is suspected\n")
    assert "derived: shop/cart.py" in run(app, "derive", "ours", "web", "/opt/shop/cart.py:2").output


@ON_SQLITE
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --traceback with a file, - for standard input, or paths of frames"),
        (["a.py", "--traceback", "-"], "give either --traceback"),
        (["a.py", "--max-age", "3"], "--release, --first-seen and --max-age are for --suspects; add it"),
        (["a.py", "--suspects", "--release", "x"], "'x' is not REPOSITORY=SHA"),
        (["a.py", "--suspects", "--release", "x=abcdef0"], "there are 0 repositories 'x'; give the id that flask scm"),
        (["a.py", "--suspects", "--release", "1=x"], "commit_sha must be a full SHA"),
        (["a.py", "--suspects", "--first-seen", "yesterday"], "'yesterday' is no date as 2026-01-31"),
        (["--suspects", "--traceback", "-"], "the text has no frames of Python"),
    ],
)
def test_what_suspects_need(app: Flask, ours: Tenant, arguments: list[str], message: str) -> None:
    result = run(app, "derive", "ours", "web", *arguments)
    assert result.exit_code in {1, 2}
    assert message in " ".join(result.output.split())


def test_a_repository_is_named_by_id_where_names_are_equal(app: Flask, ours: Tenant, shop: Shop) -> None:
    for external_id in ("1", "2"):
        with app.app_context():
            db.session.add(Repository(organization_id=ours.organization, name="twice", external_id=external_id))
            db.session.commit()
    result = run(app, "derive", "ours", "web", "a.py", "--suspects", "--release", "twice=abcdef0")
    assert "there are 2 repositories 'twice'; give the id" in result.output
