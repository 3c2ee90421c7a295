"""Docstrings open with a noun or a verb in the imperative."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.imports import statements

ROOT = Path(__file__).parent.parent
QUESTION = re.compile(r"(?:What|Whether|How|Who|Whose|When|Which|Where|Why)\b")
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("flask_grpcweb_scm", "example_app", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.endswith(("_pb2.py", "_rpc.py"))
)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of docstrings, those beneath attributes and constants included."""
    for statement in statements(ast.parse(source)):
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            value = statement.value.value
            if isinstance(value, str):
                yield statement.lineno, value


def test_no_docstring_opens_with_a_question() -> None:
    found = [(str(path), *docstring) for path in SOURCES for docstring in docstrings((ROOT / path).read_text())]
    assert [(path, line, text) for path, line, text in found if QUESTION.match(text)] == []


def test_every_docstring_is_seen() -> None:
    source = '"""What a."""\nx = 1\n"""Whether b."""\nclass C:\n    y = 2\n    """How c."""\n'
    source += '    def f(self):\n        """Who d."""\n'
    assert [line for line, text in docstrings(source) if QUESTION.match(text)] == [1, 3, 6, 8]
