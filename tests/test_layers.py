"""Imports point downwards only: wire ← rpc ← auth, scm, client ← the Flask layer."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "flask_grpcweb_scm"
ROOT = Path(__file__).parent.parent

# layer → what it may import besides itself and the standard library.
ALLOWED = {
    "wire": {"pybase64"},
    "rpc": {"wire", "google", "orjson"},
    "forks": set(),
    "auth": {"wire", "rpc", "forks", "google", "itsdangerous", "limits"},
    "pb": {"google"},
    "scm": {
        "rpc",
        "forks",
        "pb",
        "google",
        "flask",
        "flask_sqlalchemy",
        "sqlalchemy",
        "alembic",
        "werkzeug",
        "click",
        "itsdangerous",
        "urllib3",
    },
    "client": {"wire", "rpc", "pb", "google", "urllib3", "click"},
    "testing": {"wire", "rpc", "client", "scm", "google", "flask"},
}
# The Flask layer is the package's own modules; it may import anything, and reaches `scm` here only.
REGISTERS_SCM = {"extension.py"}
FLASK_LAYER = {"web", "cli"}
SOURCES = sorted(path.relative_to(ROOT / PACKAGE) for path in (ROOT / PACKAGE).rglob("*.py"))


def _modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the full name of every module or member that *tree*, in *package*, imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _dependency(module: str) -> str:
    """Name a layer of ours, the top of another package, or ``flask layer``."""
    top, *rest = module.split(".")
    if top != PACKAGE:
        return top
    return rest[0] if rest and rest[0] in ALLOWED else "flask layer"


def forbidden_imports(source: str, path: Path) -> set[str]:
    """Answer what *source*, at *path* below the package, imports and may not."""
    package = ".".join([PACKAGE, *path.parent.parts])
    found = {_dependency(module) for module in _modules(ast.parse(source), package)} - set(sys.stdlib_module_names)
    if len(path.parts) == 1 or path.parts[0] in FLASK_LAYER:
        return set() if path.name in REGISTERS_SCM else found & {"scm"}
    layer = path.parts[0]
    return found - ALLOWED[layer] - {layer}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    assert forbidden_imports((ROOT / PACKAGE / path).read_text(), path) == set()


@pytest.mark.parametrize(
    ("path", "source", "forbidden"),
    [
        ("wire/frames.py", "import zlib\nfrom flask_grpcweb_scm.wire.errors import E\nfrom .errors import E", set()),
        ("wire/frames.py", "from google.protobuf import message", {"google"}),
        ("wire/frames.py", "from ..rpc import service", {"rpc"}),
        ("wire/frames.py", "from .. import rpc", {"rpc"}),
        ("wire/frames.py", "from flask_grpcweb_scm import rpc", {"rpc"}),
        ("rpc/service.py", "def f():\n    import flask", {"flask"}),
        ("rpc/service.py", "from flask_grpcweb_scm import RpcError", {"flask layer"}),
        ("rpc/service.py", "import flask_grpcweb_scm.auth.tokens", {"auth"}),
        ("scm/service.py", "import flask\nfrom flask_grpcweb_scm.settings import Settings", {"flask layer"}),
        ("client/channel.py", "from flask_grpcweb_scm import rpc, extension", {"flask layer"}),
        ("client/channel.py", "from flask_grpcweb_scm.testing import channel_for", {"testing"}),
        ("client/stubs/scm.py", "from ...scm import Repository", {"scm"}),
        ("blueprint.py", "import flask\nfrom flask_grpcweb_scm import scm", {"scm"}),
        ("extension.py", "from flask_grpcweb_scm import scm", set()),
    ],
)
def test_the_rule_sees_every_way_to_import(path: str, source: str, forbidden: set[str]) -> None:
    assert forbidden_imports(source, Path(path)) == forbidden
