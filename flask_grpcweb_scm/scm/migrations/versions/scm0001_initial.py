"""The tables. Written by `make migration`, and not changed any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0001"
down_revision = None
branch_labels = ("scm",)
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "scm_integration",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_integration")),
        sa.UniqueConstraint("provider", "external_id", name="uq_scm_integration_external_id"),
    )
    op.create_table(
        "scm_organization",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_organization")),
        sa.UniqueConstraint("slug", name="uq_scm_organization_slug"),
    )
    op.create_table(
        "scm_commit_author",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=True),
        sa.Column("external_id", sa.String(length=164), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_commit_author_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_commit_author")),
        sa.UniqueConstraint("organization_id", "email", name="uq_scm_commit_author_email"),
        sa.UniqueConstraint("organization_id", "external_id", name="uq_scm_commit_author_external_id"),
    )
    op.create_table(
        "scm_external_issue",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("integration_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("web_url", sa.Text(), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["scm_integration.id"],
            name=op.f("fk_scm_external_issue_integration_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_external_issue_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_external_issue")),
        sa.UniqueConstraint("organization_id", "idempotency_key", name="uq_scm_external_issue_idempotency_key"),
        sa.UniqueConstraint("organization_id", "integration_id", "key", name="uq_scm_external_issue_key"),
    )
    op.create_index(
        op.f("ix_scm_external_issue_integration_id"), "scm_external_issue", ["integration_id"], unique=False
    )
    op.create_index("ix_scm_external_issue_page", "scm_external_issue", ["organization_id", "id"], unique=False)
    op.create_table(
        "scm_issue_operation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("integration_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("marker", sa.String(length=64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["scm_integration.id"],
            name=op.f("fk_scm_issue_operation_integration_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_issue_operation_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_issue_operation")),
        sa.UniqueConstraint("marker", name="uq_scm_issue_operation_marker"),
        sa.UniqueConstraint("organization_id", "idempotency_key", name="uq_scm_issue_operation_idempotency_key"),
    )
    op.create_index(
        op.f("ix_scm_issue_operation_integration_id"), "scm_issue_operation", ["integration_id"], unique=False
    )
    op.create_table(
        "scm_organization_integration",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("integration_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["scm_integration.id"],
            name=op.f("fk_scm_organization_integration_integration_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_organization_integration_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_organization_integration")),
        sa.UniqueConstraint("organization_id", "integration_id", name="uq_scm_organization_integration_pair"),
    )
    op.create_index(
        op.f("ix_scm_organization_integration_integration_id"),
        "scm_organization_integration",
        ["integration_id"],
        unique=False,
    )
    op.create_table(
        "scm_project",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slug", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("platform", sa.String(length=64), nullable=True),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_project_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_project")),
        sa.UniqueConstraint("organization_id", "slug", name="uq_scm_project_slug"),
    )
    op.create_table(
        "scm_repository",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("integration_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "name",
            sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "disabled",
                "hidden",
                "pending_deletion",
                "deletion_in_progress",
                name="repositorystatus",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.Column("default_branch", sa.String(length=255), nullable=False),
        sa.Column("mirror_path", sa.Text(), nullable=True),
        sa.Column("imported_key", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["scm_integration.id"],
            name=op.f("fk_scm_repository_integration_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_repository_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_repository")),
        sa.UniqueConstraint("organization_id", "provider", "external_id", name="uq_scm_repository_external_id"),
    )
    op.create_index(op.f("ix_scm_repository_integration_id"), "scm_repository", ["integration_id"], unique=False)
    op.create_index(
        "ix_scm_repository_page",
        "scm_repository",
        ["organization_id", "status", "name", "id", "provider"],
        unique=False,
    )
    op.create_table(
        "scm_code_mapping",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stack_root", sa.String(length=512), nullable=False),
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
    op.create_index(op.f("ix_scm_code_mapping_organization_id"), "scm_code_mapping", ["organization_id"], unique=False)
    op.create_index(op.f("ix_scm_code_mapping_repository_id"), "scm_code_mapping", ["repository_id"], unique=False)
    op.create_table(
        "scm_commit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("author_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["author_id"], ["scm_commit_author.id"], name=op.f("fk_scm_commit_author_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["scm_repository.id"], name=op.f("fk_scm_commit_repository_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_commit")),
        sa.UniqueConstraint("repository_id", "key", name="uq_scm_commit_key"),
    )
    op.create_index(op.f("ix_scm_commit_author_id"), "scm_commit", ["author_id"], unique=False)
    op.create_index("ix_scm_commit_date", "scm_commit", ["repository_id", "date_added"], unique=False)
    op.create_table(
        "scm_group",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("short_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["scm_project.id"], name=op.f("fk_scm_group_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_group")),
        sa.UniqueConstraint("project_id", "short_id", name="uq_scm_group_short_id"),
    )
    op.create_table(
        "scm_commit_file_change",
        sa.Column("commit_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=1), nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["scm_commit.id"], name=op.f("fk_scm_commit_file_change_commit_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("commit_id", "filename", name=op.f("pk_scm_commit_file_change")),
    )
    op.create_table(
        "scm_group_link",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("group_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("linked_type", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("linked_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("relationship", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["scm_group.id"], name=op.f("fk_scm_group_link_group_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["scm_project.id"], name=op.f("fk_scm_group_link_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_group_link")),
        sa.UniqueConstraint("group_id", "linked_type", "linked_id", name="uq_scm_group_link_linked"),
    )
    op.create_index(op.f("ix_scm_group_link_project_id"), "scm_group_link", ["project_id"], unique=False)


def downgrade() -> None:
    """Drop them, with all rows."""
    op.drop_index(op.f("ix_scm_group_link_project_id"), table_name="scm_group_link")
    op.drop_table("scm_group_link")
    op.drop_table("scm_commit_file_change")
    op.drop_table("scm_group")
    op.drop_index("ix_scm_commit_date", table_name="scm_commit")
    op.drop_index(op.f("ix_scm_commit_author_id"), table_name="scm_commit")
    op.drop_table("scm_commit")
    op.drop_index(op.f("ix_scm_code_mapping_repository_id"), table_name="scm_code_mapping")
    op.drop_index(op.f("ix_scm_code_mapping_organization_id"), table_name="scm_code_mapping")
    op.drop_table("scm_code_mapping")
    op.drop_index("ix_scm_repository_page", table_name="scm_repository")
    op.drop_index(op.f("ix_scm_repository_integration_id"), table_name="scm_repository")
    op.drop_table("scm_repository")
    op.drop_table("scm_project")
    op.drop_index(op.f("ix_scm_organization_integration_integration_id"), table_name="scm_organization_integration")
    op.drop_table("scm_organization_integration")
    op.drop_index(op.f("ix_scm_issue_operation_integration_id"), table_name="scm_issue_operation")
    op.drop_table("scm_issue_operation")
    op.drop_index("ix_scm_external_issue_page", table_name="scm_external_issue")
    op.drop_index(op.f("ix_scm_external_issue_integration_id"), table_name="scm_external_issue")
    op.drop_table("scm_external_issue")
    op.drop_table("scm_commit_author")
    op.drop_table("scm_organization")
    op.drop_table("scm_integration")
