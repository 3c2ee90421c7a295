"""Deliveries of webhooks, and integrations by their names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "scm0007"
down_revision = "scm0006"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table of deliveries, and the index that finds the integration of one."""
    op.create_table(
        "scm_webhook_delivery",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("webhook", sa.String(length=200), nullable=False),
        sa.Column("delivery_id", sa.String(length=200), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_webhook_delivery")),
        sa.UniqueConstraint("webhook", "delivery_id", name="uq_scm_webhook_delivery_id"),
    )
    op.create_index(op.f("ix_scm_integration_name"), "scm_integration", ["name"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index(op.f("ix_scm_integration_name"), table_name="scm_integration")
    op.drop_table("scm_webhook_delivery")
