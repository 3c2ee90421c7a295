"""Imports between the modules of the package, read from their source."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

__all__ = ["FILES", "PACKAGE", "ROOT", "all_imports", "circles", "imported", "reached_by", "statements"]

PACKAGE = "flask_grpcweb_scm"
ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / PACKAGE).rglob("*.py"))
}


def imported(source: str) -> Iterator[str]:
    """Yield the modules that a source imports anywhere, also in functions and for type checkers alone."""
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name of the module"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module or ""


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in a node, at any depth: a tenth of what :func:`ast.walk` finds."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, field, []):
            yield child
            yield from statements(child)


@functools.cache
def all_imports() -> Mapping[str, Set[str]]:
    """Return what each module imports. Every process of a test run imports this file; one of them needs it."""
    return {module: set(imported(file.read_text())) for module, file in FILES.items()}


def reached_by(modules: Iterable[str], imports: Mapping[str, Set[str]] | None = None) -> set[str]:
    """Return the modules, and all that they import, directly or through others."""
    imports = all_imports() if imports is None else imports
    reached: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= imports.get(module, set()) - reached
    return reached


def circles(imports: Mapping[str, Set[str]]) -> set[str]:
    """Return the modules that import themselves through others."""
    return {module for module, names in imports.items() if module in reached_by(names - {module}, imports)}
