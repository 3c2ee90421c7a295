"""The start of a worker, in fresh processes: imports, the first call, and memory."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack

from benchmarks.harness import ROOT, Goal, Variants, observation

DEPENDENCIES = "import flask, flask_sqlalchemy, google.protobuf.message, google.protobuf.descriptor_pb2"
PACKAGE = "from flask_grpcweb_scm import GrpcWebScm"
MODELS = f"{PACKAGE}; import flask_grpcweb_scm.scm"

CPU = "import time; print(time.process_time() * 1000)"
MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"

VIEW = """
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from google.protobuf.struct_pb2 import Struct
app = Flask("view", instance_path={folder!r})
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
db = SQLAlchemy(app)
@app.post("/view")
def view():
    db.session.execute(db.text("SELECT 1")).one()
    return Struct().SerializeToString()
assert app.test_client().post("/view").status_code == 200
"""
SERVICE = """
from flask import Flask
from flask_grpcweb_scm import GrpcWebScm
app = Flask("service", instance_path={folder!r})
app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", GRPC_REQUIRE_AUTH=False, SECRET_KEY="secret")
app.config.update(GRPC_SCM={scm}, GRPC_HEALTH=True)
GrpcWebScm(app)
if {scm}:
    from flask_grpcweb_scm.scm import Organization, db
    with app.app_context():
        db.create_all()
        db.session.add(Organization(id=1, slug="acme"))
        db.session.commit()
response = app.test_client().post("{path}", data={body!r}, content_type="application/grpc-web+proto")
assert b"grpc-status: 0" in response.data, (response.status, response.headers)
"""
HEALTH = "/grpc.health.v1.Health/Check", b"\0\0\0\0\0"
REPOSITORIES = "/sentry.integrations.scm.v1.ScmService/ListRepositories", b"\0\0\0\0\2\x08\1"


def _print_of(script: str, environ: dict[str, str]) -> float:
    command = [sys.executable, "-c", script]
    return float(subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def _environ(stack: ExitStack) -> dict[str, str]:
    """Make an environment in which every module is compiled once, as an installer does, whatever the user's says."""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": stack.enter_context(tempfile.TemporaryDirectory())}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return environ


def _observed(stack: ExitStack, scripts: dict[str, str], what: str) -> Variants:
    environ = _environ(stack)
    for script in scripts.values():
        _print_of(f"{script}\n{what}", environ)
    return {name: functools.partial(_print_of, f"{script}\n{what}", environ) for name, script in scripts.items()}


def _first_calls(stack: ExitStack) -> dict[str, str]:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    calls = {"Health": (False, *HEALTH), "ListRepositories": (True, *REPOSITORIES)}
    scripts = {
        name: SERVICE.format(folder=folder, scm=scm, path=path, body=body) for name, (scm, path, body) in calls.items()
    }
    return {"Flask view": VIEW.format(folder=folder), **scripts}


@observation(
    "import",
    unit="ms",
    reference="dependencies",
    goals=[Goal("package", "dependencies", at_most=1.3)],
    quick=True,
)
def imports(stack: ExitStack) -> Variants:
    """CPU time of a process that imports this package beside Flask, Flask-SQLAlchemy and protobuf."""
    return _observed(stack, {"dependencies": DEPENDENCIES, "package": PACKAGE, "package and models": MODELS}, CPU)


@observation("first call of a worker", unit="ms", reference="Flask view")
def first_call(stack: ExitStack) -> Variants:
    """CPU time of a process from its start to its first response."""
    return _observed(stack, _first_calls(stack), CPU)


@observation("memory of a worker", unit="MiB", reference="Flask view")
def memory(stack: ExitStack) -> Variants:
    """The most memory that a process has had by its first response."""
    return _observed(stack, _first_calls(stack), MEMORY)
