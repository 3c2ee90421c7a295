"""The places of issues: keys that are found in any case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0010"
down_revision = "scm0009"
branch_labels = None
depends_on = None

ISSUES = "scm_external_issue"
# Without the letters of a language, as SQLite's upper() is by itself.
COLLATIONS = {"postgresql": ' COLLATE "C"', "sqlite": ""}


def upgrade() -> None:
    """Add the column; its index finds issues that were moved, too."""
    op.add_column(ISSUES, sa.Column("place", sa.String(256), nullable=True))
    collation = COLLATIONS[op.get_context().dialect.name]
    key = f"(CASE WHEN moved_to <> '' THEN moved_to ELSE key END){collation}"
    op.execute(f"UPDATE scm_external_issue SET place = upper({key})")  # noqa: S608  # no parameters
    op.create_index("ix_scm_external_issue_place", ISSUES, ["integration_id", "place"])
    op.drop_index("ix_scm_external_issue_moved_to", table_name=ISSUES)


def downgrade() -> None:
    """Take it away."""
    used = sa.text("moved_to <> ''")
    columns = ["integration_id", "moved_to"]
    op.create_index("ix_scm_external_issue_moved_to", ISSUES, columns, postgresql_where=used, sqlite_where=used)
    op.drop_index("ix_scm_external_issue_place", table_name=ISSUES)
    op.drop_column(ISSUES, "place")
