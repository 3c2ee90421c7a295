"""Sizes of modules and functions, without generated code and migrations: ``python -m benchmarks.sizes``."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
LONGEST = 5


def modules() -> dict[str, str]:
    """Return the sources by path."""
    paths = sorted((ROOT / "flask_grpcweb_scm").rglob("*.py"))
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for path in paths
        if not path.name.endswith(("_pb2.py", "_rpc.py")) and "migrations" not in path.parts
    }


def function_lines(source: str) -> list[int]:
    """Return the lines of each function from ``def`` on, without its docstring."""
    return [
        node.end_lineno - node.lineno + 1 - _docstring_lines(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]


def _docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len((ast.get_docstring(function, clean=False) or "").splitlines())


def main() -> None:
    """Print a summary and the longest modules."""
    sources = modules()
    lines = {path: len(source.splitlines()) for path, source in sources.items()}
    functions = [count for source in sources.values() for count in function_lines(source)]
    click.echo(
        f"modules             {len(lines)}, of which {sum('__init__' in path for path in lines)} are __init__.py"
    )
    click.echo(f"lines of a module   median {statistics.median(lines.values()):.0f}, at most {max(lines.values())}")
    median, p90 = statistics.median(functions), statistics.quantiles(functions, n=10)[-1]
    click.echo(f"lines of a function median {median:.0f}, 90 % up to {p90:.0f}, at most {max(functions)}")
    for path in sorted(lines, key=lines.__getitem__)[-LONGEST:]:
        click.echo(f"{lines[path]:6}  {path}")


if __name__ == "__main__":
    main()
