"""The status that syncs have set, in the row of its repository; waits that providers demand of jobs and operations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0008"
down_revision = "scm0007"
branch_labels = None
depends_on = None


MARKED = {
    "sqlite": "SELECT value FROM {table}, json_each({table}.sync_state, '$.marked') WHERE {mine}",
    "postgresql": "SELECT json_array_elements_text({table}.sync_state -> 'marked')::bigint FROM {table} WHERE {mine}",
}
"""Ids of repositories that syncs have disabled or hidden, which were in the state of their listings."""


def upgrade() -> None:
    """Add the columns."""
    op.add_column("scm_repository", sa.Column("synced_status", sa.String(length=24), nullable=True))
    for table in ("scm_job", "scm_issue_operation"):
        op.add_column(table, sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    mine = "scm_organization_integration.organization_id = scm_repository.organization_id"
    marked = MARKED[op.get_context().dialect.name].format(table="scm_organization_integration", mine=mine)
    op.execute(
        "UPDATE scm_repository SET synced_status = status"  # noqa: S608  # no parameters
        f" WHERE status IN ('disabled', 'hidden') AND id IN ({marked})"
    )


def downgrade() -> None:
    """Take them away."""
    for table in ("scm_issue_operation", "scm_job"):
        op.drop_column(table, "not_before")
    op.drop_column("scm_repository", "synced_status")
