"""The newest commit of a repository, for questions that name no commit."""

from __future__ import annotations

from alembic import op

revision = "scm0005"
down_revision = "scm0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index of commits by date."""
    op.create_index("ix_scm_commit_newest", "scm_commit", ["repository_id", "date_added", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_scm_commit_newest", table_name="scm_commit")
