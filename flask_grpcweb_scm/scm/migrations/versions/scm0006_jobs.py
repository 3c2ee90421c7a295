"""Jobs, which are due again and again, and mirrors that the service fetches itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0006"
down_revision = "scm0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table of jobs, and add what listings and mirrors need."""
    op.create_table(
        "scm_job",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("organization_id", NUMBER, nullable=True),
        sa.Column("subject_id", NUMBER, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", NUMBER, nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claims", NUMBER, nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["scm_organization.id"], name=op.f("fk_scm_job_organization_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_job")),
        sa.UniqueConstraint("kind", "subject_id", name="uq_scm_job_subject"),
    )
    op.create_index(op.f("ix_scm_job_due_at"), "scm_job", ["due_at"])
    op.create_index(op.f("ix_scm_job_organization_id"), "scm_job", ["organization_id"])
    op.add_column("scm_organization_integration", sa.Column("sync_state", sa.JSON(), nullable=True))
    op.add_column("scm_repository", sa.Column("mirror_fetched_at", sa.DateTime(timezone=True), nullable=True))
    _index_mirrors("mirror_path IS NOT NULL OR mirror_fetched_at IS NOT NULL")


def downgrade() -> None:
    """Take them away."""
    _index_mirrors("mirror_path IS NOT NULL")
    op.drop_column("scm_repository", "mirror_fetched_at")
    op.drop_column("scm_organization_integration", "sync_state")
    op.drop_table("scm_job")


def _index_mirrors(condition: str) -> None:
    op.drop_index("ix_scm_repository_mirror", table_name="scm_repository")
    mirrored = sa.text(condition)
    op.create_index(
        "ix_scm_repository_mirror",
        "scm_repository",
        ["organization_id", "status"],
        postgresql_where=mirrored,
        sqlite_where=mirrored,
    )
