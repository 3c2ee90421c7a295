"""The modules that touch private parts of Flask: what it knows, and whom it leaves to Flask."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, url_for

from flask_grpcweb_scm.web import flask_internals
from flask_grpcweb_scm.web.flask_internals import LateRule, is_plain_flask
from tests.apps import echo_app

PACKAGE = Path(flask_internals.__file__).parents[1]
PRIVATE = {
    *("_cv_app", "_cv_request", "_cv_tokens", "_cv_token", "_push_count", "_after_request_functions"),
    *("_max_content_length", "_get_current_object", "_find_error_handler", "_got_first_request", "_session"),
    *("RequestContext", "request_ctx", "app_ctx", "AppContext", "handle_user_exception", "_compile_builder"),
}


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.Constant(value=str(name)):
                yield name
            case _:
                pass


def test_private_names_of_flask_stand_in_two_modules() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        # Most files need not be parsed for it.
        if mentioned := {name for name in PRIVATE if name in source}:
            found[str(path.relative_to(PACKAGE))] = mentioned.intersection(names(ast.parse(source)))
    assert found.pop("web/flask_internals.py")
    assert found.pop("web/late_contexts.py")
    # The lane tells the type of what it makes; hooks are called where the methods of Flask are known.
    assert {path: private for path, private in found.items() if private} == {
        "web/fast_lane.py": {"RequestContext"},
        "web/app_calls.py": {"handle_user_exception"},
        "web/hooks.py": {"handle_user_exception"},
    }


class Traced(Flask):
    def make_response(self, rv: Any) -> Any:
        return super().make_response(rv)


def test_an_app_with_a_method_of_its_own_is_left_to_flask() -> None:
    assert not is_plain_flask(Traced("a"))
    app = Flask("a")
    app.full_dispatch_request = app.full_dispatch_request  # type: ignore[method-assign]
    assert not is_plain_flask(app)


PATCHED_BEFORE = """
import functools
from flask import Flask
calls = []
original = Flask.full_dispatch_request
{wrap}
Flask.full_dispatch_request = wrapper
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import call
client = echo_app().test_client()
for _ in range(3):
    assert call(client, ECHO + "Unary", EchoRequest(text="hi")).code == 0
print(len(calls))
"""
WRAPPERS = {
    "function": "def wrapper(self, *args):\n    calls.append(1)\n    return original(self, *args)",
    "wraps": (
        "@functools.wraps(original)\ndef wrapper(self, *args):\n    calls.append(1)\n    return original(self, *args)"
    ),
    "object": (
        "class Wrapper:\n"
        "    __class__ = type(original)\n"
        "    __getattr__ = lambda self, name: getattr(original, name)\n"
        "    def __call__(self, app, *args):\n        calls.append(1)\n        return original(app, *args)\n"
        "    def __get__(self, app, owner=None):\n        return functools.partial(self, app) if app else self\n"
        "wrapper = Wrapper()"
    ),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.needs("time")
def test_a_method_that_was_patched_before_our_import_is_seen_by_every_call(wrap: str) -> None:
    source = PATCHED_BEFORE.format(wrap=wrap)
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert (result.stdout, result.stderr) == ("3\n", "")


@pytest.mark.skipif(not is_plain_flask(Flask("a")), reason="the lane needs Flask 3.1.3 or newer")
@pytest.mark.parametrize("attribute", ["_REQUEST_CONTEXT", "_APP_CONTEXT"])
def test_a_flask_with_other_contexts_has_no_lane(attribute: str) -> None:
    context_class = flask_internals.RequestContext if attribute == "_REQUEST_CONTEXT" else flask_internals.AppContext
    expected = getattr(flask_internals, attribute)
    assert flask_internals._has_attributes(context_class, expected)
    assert not flask_internals._has_attributes(context_class, expected | {"_new"})
    assert not flask_internals._has_attributes(context_class, expected - {"_cv_tokens"})


@pytest.mark.needs("time")
def test_importing_the_package_warns_of_nothing() -> None:
    source = "import flask_grpcweb_scm.extension, flask_grpcweb_scm.testing, flask_grpcweb_scm.scm"
    command = [sys.executable, "-W", "error", "-W", "ignore:Protobuf gencode:UserWarning", "-c", source]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_rule_compiles_what_builds_its_url_when_that_is_used() -> None:
    app = echo_app(GRPC_URL_PREFIX="/rpc")
    endpoint = "grpcweb_scm.tests_echo_v1_Echo/Unary"
    (rule,) = app.url_map.iter_rules(endpoint)
    assert isinstance(rule, LateRule)
    with app.test_request_context():
        for _ in range(2):
            assert url_for(endpoint) == "/rpc/tests.echo.v1.Echo/Unary"
            assert url_for(endpoint, a="b c") == "/rpc/tests.echo.v1.Echo/Unary?a=b+c"
            assert url_for(endpoint, _external=True, _anchor="x") == "http://localhost/rpc/tests.echo.v1.Echo/Unary#x"
            assert url_for("grpcweb_scm.unknown", grpc_service="a.B", grpc_method="C", d=1) == "/rpc/a.B/C?d=1"
