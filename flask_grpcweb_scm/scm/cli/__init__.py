"""``flask scm …``: tables, rows to begin with, import of git history, derivation of code mappings, and the outbox."""

from flask_grpcweb_scm.scm.cli import rows
from flask_grpcweb_scm.scm.cli.commands import scm_cli

__all__ = ["rows", "scm_cli"]
