"""A running server, seen from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.sockets.http1 import Connection, request

__all__ = ["FAST_LANE", "Server", "complaints"]

FAST_LANE = {"FAST_LANE": "1"}
"""Has the app be without hooks and CORS, and know its routes already."""


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
    return re.findall(r"^.*(?:Traceback|ERROR|Error:|Exception|panicked).*$", log, re.MULTILINE)
