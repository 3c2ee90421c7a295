"""The state of issues at their trackers, and links that trackers have not been told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0009"
down_revision = "scm0008"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
ISSUES = "scm_external_issue"
LINKS = "scm_group_link"


def upgrade() -> None:
    """Add the columns; issues of trackers, which local ones are not, are to be read."""
    op.add_column(ISSUES, sa.Column("status", sa.String(200), server_default="", nullable=False))
    op.add_column(ISSUES, sa.Column("assignee", sa.String(200), server_default="", nullable=False))
    op.add_column(ISSUES, sa.Column("state", sa.String(24), server_default="unread", nullable=False))
    op.add_column(ISSUES, sa.Column("state_time", TIME, nullable=True))
    op.add_column(ISSUES, sa.Column("moved_to", sa.String(256), server_default="", nullable=False))
    op.add_column(ISSUES, sa.Column("refresh_at", TIME, nullable=True))
    op.add_column(ISSUES, sa.Column("misses", NUMBER, server_default="0", nullable=False))
    op.add_column(LINKS, sa.Column("announce_at", TIME, nullable=True))
    op.execute("UPDATE scm_external_issue SET refresh_at = date_added WHERE key <> 'ISSUE-' || id")
    _index("ix_scm_external_issue_refresh", ISSUES, ["integration_id", "refresh_at"], "refresh_at IS NOT NULL")
    _index("ix_scm_external_issue_moved_to", ISSUES, ["integration_id", "moved_to"], "moved_to <> ''")
    _index("ix_scm_group_link_announce_at", LINKS, ["announce_at"], "announce_at IS NOT NULL")


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_scm_group_link_announce_at", table_name="scm_group_link")
    op.drop_index("ix_scm_external_issue_moved_to", table_name="scm_external_issue")
    op.drop_index("ix_scm_external_issue_refresh", table_name="scm_external_issue")
    op.drop_column("scm_group_link", "announce_at")
    for name in ("misses", "refresh_at", "moved_to", "state_time", "state", "assignee", "status"):
        op.drop_column(ISSUES, name)


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    used = sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=used, sqlite_where=used)
