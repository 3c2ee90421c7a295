"""``flask scm …``."""

from flask_grpcweb_scm.scm.cli.rows import scm_cli

__all__ = ["scm_cli"]
