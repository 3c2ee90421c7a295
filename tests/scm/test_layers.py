"""Imports inside scm point down, without circles; the rules of code mappings are pure; private is private."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "flask_grpcweb_scm.scm"
ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "flask_grpcweb_scm/scm"
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(FOLDER.rglob("*.py"))
}

# Room → rooms that it may import, all of them above it in this table.
ALLOWED: dict[str, set[str]] = {
    "validation": set(),
    "settings": set(),
    "lru_cache": set(),
    "providers": set(),
    "database": set(),
    "migrations": set(),
    "search": {"database"},
    "queries": {"database", "settings", "validation"},
    "trackers": {"database", "providers", "queries", "settings", "validation"},
    "sources": {"database", "lru_cache", "providers", "queries", "settings", "trackers"},
    "git_import": {"database", "queries", "sources"},
    "code_mappings": {"database", "lru_cache", "providers", "queries", "settings", "sources", "validation"},
    "service": {
        "code_mappings", "database", "git_import", "lru_cache", "providers", "queries", "settings", "sources",
        "trackers", "validation",
    },
    "cli": {"code_mappings", "database", "git_import", "providers", "sources", "trackers"},
    "__init__": {"cli", "database", "service"},
}  # fmt: skip
PURE = {"frames", "tracebacks", "tree_index", "tree_cache", "decide", "coverage"}
# Flask-SQLAlchemy's metadata of an app, and a connection of urllib3 over a socket that is there already.
TOUCHES_PRIVATE = {"database/db.py", "providers/sockets.py"}
NAMED_TUPLE = {"_fields", "_make", "_replace", "_asdict"}


def imported(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports anywhere, also for type checkers alone."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write the whole name of the module"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module or ""


IMPORTS = {module: set(imported(file)) for module, file in FILES.items()}


def room(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0] or "__init__"


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_rooms_below_its_own(module: str) -> None:
    rooms = {room(name) for name in IMPORTS[module] if name.startswith(PACKAGE)}
    assert rooms - {room(module)} <= ALLOWED[room(module)]


def test_the_table_has_no_circle() -> None:
    for index, allowed in enumerate(ALLOWED.values()):
        assert allowed <= set(list(ALLOWED)[:index])


def test_no_modules_import_each_other() -> None:
    left = {module: IMPORTS[module] & set(FILES) - {module} for module in FILES}
    while removable := [module for module, needs in left.items() if not needs & set(left)]:
        for module in removable:
            del left[module]
    assert left == {}


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_rules_of_code_mappings_know_neither_flask_nor_sqlalchemy(name: str) -> None:
    reached, waiting = set(), {f"{PACKAGE}.code_mappings.{name}"}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= IMPORTS.get(module, set()) - reached
    tops = {module.partition(".")[0] for module in reached}
    assert not tops & {"flask", "flask_sqlalchemy", "sqlalchemy", "werkzeug"}


def private_attributes(source: str) -> set[str]:
    """Return the attributes with an underscore that belong to another module."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_self(node.value)}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    } - own - NAMED_TUPLE  # fmt: skip


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


@pytest.mark.parametrize("file", FILES.values(), ids=lambda file: str(file.relative_to(FOLDER)))
def test_only_two_files_touch_what_is_private(file: Path) -> None:
    assert bool(private_attributes(file.read_text())) == (str(file.relative_to(FOLDER)) in TOUCHES_PRIVATE)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a._b", {"_b"}),
        ("a.b()._c = 1", {"_c"}),
        ("class A:\n def f(self, other):\n  self._x = other._x", set()),
        ("class A:\n def _f(self): ...\nA()._f()", set()),
        ("a.__dict__, a.b, Row._make", set()),
    ],
)
def test_the_rule_sees_private_attributes(source: str, found: set[str]) -> None:
    assert private_attributes(source) == found
