"""``flask scm …``: tables, rows to begin with, import of git history, derivation of code mappings, and the outbox."""

from flask_grpcweb_scm.scm.cli import derive, import_git, outbox, rows
from flask_grpcweb_scm.scm.cli.command import scm_cli

__all__ = ["derive", "import_git", "outbox", "rows", "scm_cli"]
