"""Indexes for calls that cost the same with any number of rows, and the columns that they need.

SQLite adds no column that must not be empty, nor one that is stored and computed: there the two tables are made anew,
with their rows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0003"
down_revision = "scm0002"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add indexes and columns, and fill the columns in."""
    if op.get_context().dialect.name == "sqlite":
        _make_anew()
    else:
        _add_columns()
    op.create_index(
        "ix_scm_commit_file_change_path",
        "scm_commit_file_change",
        ["repository_id", "filename", "date_added", "commit_id"],
    )
    op.drop_index("ix_scm_commit_date", table_name="scm_commit")
    op.create_index(
        "ix_scm_code_mapping_page", "scm_code_mapping", ["project_id", "automatically_generated", "root_rank", "id"]
    )
    op.create_index(
        "ix_scm_repository_provider", "scm_repository", ["organization_id", "status", "provider", "name", "id"]
    )
    mirrored = sa.text("mirror_path IS NOT NULL")
    op.create_index(
        "ix_scm_repository_mirror",
        "scm_repository",
        ["organization_id", "status"],
        postgresql_where=mirrored,
        sqlite_where=mirrored,
    )


def _add_columns() -> None:
    op.add_column("scm_commit_file_change", sa.Column("repository_id", NUMBER))
    op.add_column("scm_commit_file_change", sa.Column("date_added", sa.DateTime(timezone=True)))
    op.execute(
        """
        UPDATE scm_commit_file_change SET repository_id = scm_commit.repository_id, date_added = scm_commit.date_added
        FROM scm_commit WHERE scm_commit.id = scm_commit_file_change.commit_id
        """
    )
    op.alter_column("scm_commit_file_change", "repository_id", nullable=False)
    op.alter_column("scm_commit_file_change", "date_added", nullable=False)
    rank = sa.Column("root_rank", NUMBER, sa.Computed("-length(stack_root)", persisted=True), nullable=False)
    op.add_column("scm_code_mapping", rank)


def _make_anew() -> None:
    op.rename_table("scm_commit_file_change", "scm_commit_file_change_before")
    op.create_table(
        "scm_commit_file_change",
        sa.Column("commit_id", NUMBER, nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=1), nullable=False),
        sa.Column("repository_id", NUMBER, nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["scm_commit.id"], name=op.f("fk_scm_commit_file_change_commit_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("commit_id", "filename", name=op.f("pk_scm_commit_file_change")),
    )
    op.execute(
        """
        INSERT INTO scm_commit_file_change (commit_id, filename, type, repository_id, date_added)
        SELECT commit_id, filename, type, repository_id, date_added
        FROM scm_commit_file_change_before JOIN scm_commit ON scm_commit.id = commit_id
        """
    )
    op.drop_table("scm_commit_file_change_before")

    op.drop_index(op.f("ix_scm_code_mapping_organization_id"), table_name="scm_code_mapping")
    op.drop_index(op.f("ix_scm_code_mapping_repository_id"), table_name="scm_code_mapping")
    op.rename_table("scm_code_mapping", "scm_code_mapping_before")
    op.create_table(
        "scm_code_mapping",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("organization_id", NUMBER, nullable=False),
        sa.Column("project_id", NUMBER, nullable=False),
        sa.Column("repository_id", NUMBER, nullable=False),
        sa.Column("stack_root", sa.String(length=512), nullable=False),
        sa.Column("root_rank", NUMBER, sa.Computed("-length(stack_root)", persisted=True), nullable=False),
        sa.Column("source_root", sa.String(length=512), nullable=False),
        sa.Column("default_branch", sa.String(length=255), nullable=False),
        sa.Column("automatically_generated", sa.Boolean(), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_code_mapping_organization_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["scm_project.id"], name=op.f("fk_scm_code_mapping_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["scm_repository.id"], name=op.f("fk_scm_code_mapping_repository_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_code_mapping")),
        sa.UniqueConstraint("project_id", "stack_root", name="uq_scm_code_mapping_stack_root"),
    )
    op.execute(
        """
        INSERT INTO scm_code_mapping (id, organization_id, project_id, repository_id, stack_root, source_root,
            default_branch, automatically_generated, date_added)
        SELECT id, organization_id, project_id, repository_id, stack_root, source_root,
            default_branch, automatically_generated, date_added FROM scm_code_mapping_before
        """
    )
    op.drop_table("scm_code_mapping_before")
    op.create_index(op.f("ix_scm_code_mapping_organization_id"), "scm_code_mapping", ["organization_id"])
    op.create_index(op.f("ix_scm_code_mapping_repository_id"), "scm_code_mapping", ["repository_id"])


def downgrade() -> None:
    """Drop them, and no row."""
    op.drop_index("ix_scm_repository_mirror", table_name="scm_repository")
    op.drop_index("ix_scm_repository_provider", table_name="scm_repository")
    op.drop_index("ix_scm_code_mapping_page", table_name="scm_code_mapping")
    op.create_index("ix_scm_commit_date", "scm_commit", ["repository_id", "date_added"])
    op.drop_index("ix_scm_commit_file_change_path", table_name="scm_commit_file_change")
    op.drop_column("scm_code_mapping", "root_rank")
    op.drop_column("scm_commit_file_change", "date_added")
    op.drop_column("scm_commit_file_change", "repository_id")
