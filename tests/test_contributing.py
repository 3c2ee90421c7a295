"""CONTRIBUTING.md names files, folders and commands that are there."""

from __future__ import annotations

import re

import pytest

from tests.documents import PAGES, ROOT, blocks, dead_links, unknown_keys
from tests.test_layers import LAYERS

PAGE = PAGES["CONTRIBUTING"]
PACKAGE = ROOT / "flask_grpcweb_scm"
TEXT = PAGE.read_text()
# `a/b`, `a/` and `a.py` are paths, of the checkout or inside the package.
NAMED = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|\w+\.(?:py|md|cfg|toml))`", TEXT)) - {"test_x.py", "x.py"}
# Inside the wheel, or written by a build.
ELSEWHERE = {"build/docs", "dist/", "pb/scm.proto", "pb/scm.binpb", "pb/scm_pb2.pyi", "migrations/alembic.ini"}
(LAYOUT,) = blocks(PAGE, "")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def missing(names: set[str]) -> set[str]:
    return {name for name in names if not ((ROOT / name).exists() or (PACKAGE / name).exists())}


def test_every_file_that_is_named_is_there() -> None:
    assert len(NAMED) > 50
    assert missing(NAMED - ELSEWHERE) == set()


def test_every_module_is_named_or_in_a_folder_that_is() -> None:
    named = {name for row in re.findall(r"^\| `.*", TEXT, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    named |= {row.split()[0] for row in LAYOUT.splitlines()[1:]} - {f"{room}/" for room in ("rpc", "web", "wire")}
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert not [str(path) for path in modules if not {str(path), f"{path.parent}/"} & named]


def test_the_picture_has_the_layers_from_top_to_bottom_and_their_imports() -> None:
    rows = [re.split(r" {2,}", line) for line in LAYOUT.splitlines()[1:]]
    drawn = {row[0].removesuffix("/").removesuffix(".py"): set(" ".join(row[2:]).split()) for row in rows}
    assert drawn == {name: layers for name, (layers, _) in LAYERS.items()}
    for index, layers in enumerate(drawn.values()):
        assert layers <= set(list(drawn)[index + 1 :])
    assert missing({row[0] for row in rows}) == set()


def test_its_commands_are_in_the_makefile() -> None:
    shell = re.findall(r"^make ([a-z -]+)", "".join(blocks(PAGE, "sh")), re.MULTILINE)
    named = {name for names in shell for name in names.split()} | set(re.findall(r"`make ([a-z-]+)", TEXT))
    assert len(named) > 10
    assert named <= TARGETS


def test_links_and_keys_lead_somewhere() -> None:
    assert (dead_links(PAGE), unknown_keys(PAGE)) == ([], set())


@pytest.mark.parametrize("name", ["rpc/nowhere.py", "nowhere/", "tests/nowhere"])
def test_a_file_that_is_gone_is_seen(name: str) -> None:
    assert missing({name, "rpc/service.py", "tests/sockets", "setup.cfg"}) == {name}
