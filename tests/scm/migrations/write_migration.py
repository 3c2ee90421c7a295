"""``make migration``: write the initial migration anew, from the models.

For as long as there is no release: after that, a change gets a migration of its own.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import DowngradeOps, UpgradeOps

from flask_grpcweb_scm.scm import MIGRATIONS, db

FILE = Path(MIGRATIONS, "versions", "scm0001_initial.py")
TEXT = '''"""The tables. Written by `make migration`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0001"
down_revision = None
branch_labels = ("scm",)
depends_on = None


def upgrade() -> None:
    """Make all tables."""
{upgrade}


def downgrade() -> None:
    """Drop them, with all rows."""
{downgrade}
'''


def initial_migration() -> str:
    with sa.create_engine("sqlite://").connect() as connection:
        operations = produce_migrations(MigrationContext.configure(connection), db.metadata)
    assert operations.upgrade_ops is not None
    assert operations.downgrade_ops is not None
    return TEXT.format(upgrade=_code(operations.upgrade_ops), downgrade=_code(operations.downgrade_ops))


def _code(operations: UpgradeOps | DowngradeOps) -> str:
    lines = render_python_code(operations).split("\n")
    return "\n".join(line for line in lines if not line.strip().startswith("# ###"))


if __name__ == "__main__":
    FILE.write_text(initial_migration())
