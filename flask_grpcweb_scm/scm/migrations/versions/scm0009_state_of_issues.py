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
ISSUE_COLUMNS = (
    ("status", sa.String(200), ""),
    ("assignee", sa.String(200), ""),
    ("state", sa.String(24), "unread"),
    ("state_time", TIME, None),
    ("moved_to", sa.String(256), ""),
    ("refresh_at", TIME, None),
    ("misses", NUMBER, "0"),
)


def upgrade() -> None:
    """Add the columns; issues of trackers, which local ones are not, are to be read."""
    for name, kind, default in ISSUE_COLUMNS:
        is_empty = default is None
        op.add_column("scm_external_issue", sa.Column(name, kind, server_default=default, nullable=is_empty))
    op.add_column("scm_group_link", sa.Column("announce_at", TIME, nullable=True))
    op.execute("UPDATE scm_external_issue SET refresh_at = date_added WHERE key <> 'ISSUE-' || id")
    issues, links = "scm_external_issue", "scm_group_link"
    _index("ix_scm_external_issue_refresh", issues, ["integration_id", "refresh_at"], "refresh_at IS NOT NULL")
    _index("ix_scm_external_issue_moved_to", issues, ["integration_id", "moved_to"], "moved_to <> ''")
    _index("ix_scm_group_link_announce_at", links, ["announce_at"], "announce_at IS NOT NULL")


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_scm_group_link_announce_at", table_name="scm_group_link")
    op.drop_index("ix_scm_external_issue_moved_to", table_name="scm_external_issue")
    op.drop_index("ix_scm_external_issue_refresh", table_name="scm_external_issue")
    op.drop_column("scm_group_link", "announce_at")
    for name, *_ in reversed(ISSUE_COLUMNS):
        op.drop_column("scm_external_issue", name)


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    used = sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=used, sqlite_where=used)
