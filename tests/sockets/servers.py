"""A running server, seen from outside."""

from __future__ import annotations

import importlib.util
import os
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sockets.http1 import Connection, request

__all__ = ["FAST_LANE", "LANES", "SERVERS", "Server", "any_server", "complaints", "require", "server_param"]

FAST_LANE = {"FAST_LANE": "1"}
"""Has the app be without hooks and CORS, and know its routes already."""


def server_param(name: str, environ: Mapping[str, str] = types.MappingProxyType({})) -> Any:
    return pytest.param((name, environ), id=" ".join([name, *environ]), marks=pytest.mark.needs("server"))


LANES = [server_param("gunicorn"), server_param("gunicorn", FAST_LANE)]
SERVERS = [*LANES, server_param("granian"), server_param("granian", FAST_LANE), server_param("waitress")]
any_server = pytest.mark.parametrize("server", LANES, indirect=True)
"""Of a rule that no server has a hand in: it is tested on one, on both ways to the service functions."""


@dataclass(frozen=True)
class Server:
    name: str
    port: int
    log_file: Path
    environ: Mapping[str, str]
    """What was added to its environment."""

    def connect(self) -> Connection:
        return Connection(self.port)

    def get(self, path: str, *, verb: str = "GET") -> str:
        with self.connect() as connection:
            connection.send(request(path, verb=verb))
            response = connection.response()
            assert response.status == 200, response
            return response.body.decode()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


def complaints(log: str) -> list[str]:
    """The lines of a server's log that no client's mistake may cause."""
    lines = re.findall(r"^.*(?:Traceback|ERROR|Error:|Exception|panicked).*$", log, re.MULTILINE)
    # waitress's own, before it knows an app: int() refuses thousands of digits.
    return [line for line in lines if "waitress/parser.py|parse_header|" not in line]


def require(name: str) -> None:
    """Skip a test whose server is not installed."""
    if importlib.util.find_spec(name) is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed: pip install {name}")
