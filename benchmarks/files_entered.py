"""Files of the package that one call enters: ``python -m benchmarks.files_entered``.

The fewer there are, the fewer a reader opens to follow a call. Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import click
from flask import Flask

import flask_grpcweb_scm
from benchmarks.wsgi import BINARY, environ_of, frames, sender
from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.testing import ScmFactory
from tests.apps import echo_service
from tests.echo_pb2 import EchoRequest

PACKAGE = Path(flask_grpcweb_scm.__file__).parent
UNARY = "/tests.echo.v1.Echo/Unary"
GET_REPOSITORY = "/sentry.integrations.scm.v1.ScmService/GetRepository"
DEADLINE = {"grpc-timeout": "10S"}


def files_entered(call: Callable[[], object]) -> list[str]:
    """Return the files whose functions a call enters, once its routes are known and its modules imported."""
    for _ in range(3):
        call()
    entered: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            entered.add(frame.f_code.co_filename)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    paths = {Path(name) for name in entered}
    return sorted(str(path.relative_to(PACKAGE)) for path in paths if path.is_relative_to(PACKAGE))


def echo_call(headers: Mapping[str, str] | None = None, **config: object) -> Callable[[], bytes]:
    """Make a unary call of the Echo service."""
    app = Flask("echo")
    app.config.update(config, GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, TESTING=True)
    GrpcWebScm(app, services=[echo_service()])
    return _call(app, UNARY, EchoRequest(text="a").SerializeToString(), headers)


def repository_call(folder: str) -> Callable[[], bytes]:
    """Make a call of GetRepository, on SQLite."""
    app = Flask("scm")
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/scm.db", TESTING=True)
    GrpcWebScm(app)
    repository = ScmFactory(app).repository()
    request = scm_pb2.GetRepositoryRequest(repository_id=repository.id)
    return _call(app, GET_REPOSITORY, request.SerializeToString())


def _call(app: Flask, path: str, payload: bytes, headers: Mapping[str, str] | None = None) -> Callable[[], bytes]:
    body = frames(payload)
    return sender(app.wsgi_app, environ_of(path, body, BINARY, headers), body)


def main() -> int:
    """Print a row for each call."""
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        calls = {
            "Echo on the lane": (9, echo_call()),
            "Echo through the blueprint": (11, echo_call(GRPC_FAST_LANE=False)),
            "Echo on the lane, with a deadline": (9, echo_call(DEADLINE)),
            "Echo through the blueprint, with a deadline": (11, echo_call(DEADLINE, GRPC_FAST_LANE=False)),
            "GetRepository": (14, repository_call(folder)),
        }
        click.echo(f"{'call':45}files  goal")
        for name, (goal, call) in calls.items():
            entered = files_entered(call)
            missed |= len(entered) > goal
            click.echo(f"{name:45}{len(entered):5}  ≤ {goal:2}  {' '.join(entered)}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
