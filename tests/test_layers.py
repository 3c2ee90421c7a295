"""Imports point down, without circles; the client knows no Flask; private is private; modules are short."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.imports import FILES, PACKAGE, ROOT, all_imports, circles, imported, reached_by, statements

# Layer → the layers it may import, all of them above it in this table, and the packages of others.
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "wire": (set(), {"pybase64"}),
    "forks": (set(), set()),
    "time_limits": ({"forks"}, set()),
    "codegen": (set(), {"google"}),
    "rpc": ({"forks", "wire"}, {"google", "orjson"}),
    "pb": ({"rpc"}, {"google"}),
    "config_values": ({"rpc"}, {"itsdangerous"}),
    # Those of extras are imported by one module each, when a key is set.
    "observe": ({"rpc", "wire"}, {"opentelemetry", "prometheus_client"}),
    "settings": ({"config_values", "rpc"}, set()),
    "configuration": ({"config_values", "rpc", "settings"}, set()),
    "state": ({"rpc", "settings"}, set()),
    "signals": (set(), {"blinker"}),
    "auth": ({"forks", "rpc", "time_limits", "wire"}, {"google", "itsdangerous", "limits"}),
    "access": ({"auth", "configuration", "rpc", "settings"}, set()),
    "services": ({"forks", "pb", "rpc"}, {"flask", "google"}),
    "client": ({"observe", "pb", "rpc", "wire"}, {"click", "google", "urllib3"}),
    "transactions": ({"forks", "rpc", "time_limits"}, {"flask", "flask_sqlalchemy", "google", "sqlalchemy"}),
    "scm": (
        {"forks", "observe", "pb", "rpc", "transactions"},
        {
            "alembic",
            # Of an extra, imported by one module.
            "celery",
            "click",
            "flask",
            "flask_sqlalchemy",
            "google",
            "itsdangerous",
            "jwt",
            "kombu",
            "sqlalchemy",
            "urllib3",
            "werkzeug",
        },
    ),
    "trackers": ({"scm"}, set()),
    # Its contract of trackers alone needs pytest.
    "testing": ({"client", "rpc", "scm", "trackers", "wire"}, {"flask", "google", "pytest", "werkzeug"}),
    "pytest_plugin": ({"client", "testing"}, {"flask", "pytest"}),
    "web": (
        {"configuration", "forks", "observe", "rpc", "services", "settings", "signals", "state", "wire"},
        {"blinker", "flask", "flask_cors", "google", "itsdangerous", "werkzeug"},
    ),
    "console": ({"codegen", "rpc", "services", "state", "web"}, {"flask", "google"}),
    "cli": (
        {
            "access",
            "auth",
            "client",
            "codegen",
            "config_values",
            "configuration",
            "rpc",
            "services",
            "settings",
            "state",
            "testing",
            "web",
            "wire",
        },
        {"click", "flask", "google", "werkzeug"},
    ),
    # The only one that reaches `scm`, and it alone may know everything.
    "extension": (
        {
            "access",
            "auth",
            "cli",
            "config_values",
            "configuration",
            "console",
            "observe",
            "rpc",
            "scm",
            "services",
            "settings",
            "state",
            "web",
        },
        {"flask", "flask_sqlalchemy", "google"},
    ),
    "__init__": ({"configuration", "extension", "rpc", "signals", "transactions", "web", "wire"}, set()),
}  # fmt: skip
# Private parts of Flask and Werkzeug, and a connection of urllib3 over a socket
# that is connected already.
TOUCHES_PRIVATE = {"scm/providers/sockets.py", "web/flask_internals.py"}
# Methods of named tuples and of werkzeug's proxies, which have an underscore to keep other names free.
PUBLIC = {"_asdict", "_fields", "_make", "_replace", "_get_current_object"}
# Of a module without generated code: what is longer has two subjects.
MAX_LINES = 400
STANDARD = {*sys.stdlib_module_names, "_typeshed"}
SOURCES = {
    str(file.relative_to(ROOT / PACKAGE)): file
    for file in FILES.values()
    if not file.name.endswith(("_pb2.py", "_rpc.py"))
}


def layer(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0] or "__init__"


def forbidden_imports(source: str, own: str) -> set[str]:
    """Return the imports of *source* that a module of the layer *own* may not have."""
    layers, others = LAYERS[own]
    modules = set(imported(source))
    above = {layer(module) for module in modules if module.partition(".")[0] == PACKAGE} - layers - {own}
    tops = {module.partition(".")[0] for module in modules} - STANDARD - {PACKAGE}
    return above | (tops - others)


def test_a_module_imports_only_layers_below_its_own() -> None:
    found = {module: forbidden_imports(file.read_text(), layer(module)) for module, file in FILES.items()}
    assert {module: forbidden for module, forbidden in found.items() if forbidden} == {}


def test_the_table_has_no_circle() -> None:
    for index, (layers, _) in enumerate(LAYERS.values()):
        assert layers <= set(list(LAYERS)[:index])


@pytest.mark.parametrize(
    ("own", "source", "forbidden"),
    [
        ("wire", "import zlib\nfrom flask_grpcweb_scm.wire.status import E", set()),
        ("wire", "from google.protobuf import message", {"google"}),
        ("wire", "from flask_grpcweb_scm import rpc", {"rpc"}),
        ("rpc", "def f():\n    import flask", {"flask"}),
        ("rpc", "from flask_grpcweb_scm import RpcError", {"__init__"}),
        ("rpc", "import flask_grpcweb_scm.auth.credentials", {"auth"}),
        ("rpc", "if TYPE_CHECKING:\n    from flask_grpcweb_scm.settings import Settings", {"settings"}),
        ("scm", "import flask\nfrom flask_grpcweb_scm.settings import Settings", {"settings"}),
        ("client", "from flask_grpcweb_scm import rpc, extension", {"extension"}),
        ("client", "from flask_grpcweb_scm.testing import channel_for", {"testing"}),
        ("web", "import flask\nfrom flask_grpcweb_scm import scm", {"scm"}),
        ("extension", "from flask_grpcweb_scm import scm", set()),
    ],
)
def test_the_rule_sees_every_way_to_import(own: str, source: str, forbidden: set[str]) -> None:
    assert forbidden_imports(source, own) == forbidden


def test_no_modules_import_each_other() -> None:
    assert circles(all_imports()) == set()


@pytest.mark.parametrize(
    ("imports", "found"),
    [
        ({"a": {"b"}, "b": {"c", "os"}, "c": set()}, set()),
        ({"a": {"b"}, "b": {"a"}}, {"a", "b"}),
        ({"x": {"a"}, "a": {"b"}, "b": {"c"}, "c": {"a", "y"}, "y": set()}, {"a", "b", "c"}),
        ({"a": {"a"}}, set()),
    ],
)
def test_the_rule_sees_circles(imports: dict[str, set[str]], found: set[str]) -> None:
    assert circles(imports) == found


# The client


CLIENT = [module for module in FILES if layer(module) == "client"]
NOT_FOR_CLIENTS = {"flask", "flask_sqlalchemy", "sqlalchemy", "werkzeug"}


def test_no_way_of_imports_leads_from_the_client_to_flask() -> None:
    assert not {module.partition(".")[0] for module in reached_by(CLIENT)} & NOT_FOR_CLIENTS


def test_the_client_runs_without_flask() -> None:
    code = f"import sys, {', '.join(CLIENT)}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert not set(output.split()) & NOT_FOR_CLIENTS


# Private attributes


def private_attributes(source: str) -> set[str]:
    """Return the attributes with an underscore that belong to another module."""
    tree = ast.parse(source)
    own = {node.name for node in statements(tree) if isinstance(node, ast.FunctionDef)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")]
    own |= {node.attr for node in attributes if _is_self(node.value)}
    return {node.attr for node in attributes if not node.attr.startswith("__")} - own - PUBLIC


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def test_two_files_touch_what_is_private() -> None:
    assert {path for path, file in SOURCES.items() if private_attributes(file.read_text())} == TOUCHES_PRIVATE


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


# Lengths


def test_no_module_is_too_long() -> None:
    lines = {path: len(file.read_text().splitlines()) for path, file in SOURCES.items()}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
