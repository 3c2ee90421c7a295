"""Running commands of scm-grpc."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner, Result

from flask_grpcweb_scm.client.cli import scm_grpc

__all__ = ["run"]


def run(
    *arguments: str, command: click.Command = scm_grpc, env: dict[str, str] | None = None, **options: Any
) -> Result:
    """The result of a command, that has nothing from the environment of the tests."""
    empty = dict.fromkeys(["SCM_GRPC_URL", "SCM_GRPC_TOKEN", "SCM_GRPC_HMAC_SECRET"])
    return CliRunner().invoke(command, arguments, prog_name="scm-grpc", env={**empty, **(env or {})}, **options)
