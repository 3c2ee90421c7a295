"""``flask scm …``: tables, rows, a demo, import of git history, code mappings, the outbox, issues, and jobs."""

from flask_grpcweb_scm.scm.cli import demo, derive, issues, jobs, manage, mappings, rows, sync
from flask_grpcweb_scm.scm.cli.commands import scm_cli

__all__ = ["demo", "derive", "issues", "jobs", "manage", "mappings", "rows", "scm_cli", "sync"]
