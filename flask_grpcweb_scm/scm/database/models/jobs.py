"""Jobs, and the deliveries of webhooks that have made them due."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_grpcweb_scm.scm.database.db import Model
from flask_grpcweb_scm.scm.database.models.columns import now, reference
from flask_grpcweb_scm.scm.database.models.tenants import Organization

__all__ = ["Job", "WebhookDelivery"]


class Job(Model):
    """Work that is done again and again, such as the sync of a repository: when it is due, and who does it."""

    __tablename__ = "scm_job"
    __table_args__ = (sa.UniqueConstraint("kind", "subject_id", name="uq_scm_job_subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    organization_id: Mapped[int | None] = reference("scm_organization", index=True)
    subject_id: Mapped[int] = mapped_column(default=0)
    """Id of the row that it is about, in the table of its kind; 0 for none."""
    due_at: Mapped[datetime] = mapped_column(index=True)
    """Stays as it is while the job is claimed."""
    requests: Mapped[int] = mapped_column(default=0)
    """Number of times that it was made due: one more while it is claimed makes it due again."""
    not_before: Mapped[datetime | None]
    """End of a wait that a provider has demanded, which nothing shortens; None without one."""
    claimed_until: Mapped[datetime | None]
    """End of the lease of the last worker that has claimed it; None once that has released it."""
    claims: Mapped[int] = mapped_column(default=0)
    """Number of claims: a worker whose lease is over cannot complete the claim of the next one."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Number of claims since it last succeeded."""
    error: Mapped[str] = mapped_column(sa.Text, default="")
    """Error of the last attempt; empty after a success."""
    succeeded_at: Mapped[datetime | None]
    date_added: Mapped[datetime] = mapped_column(default=now)

    organization: Mapped[Organization | None] = relationship()


class WebhookDelivery(Model):
    """A delivery of a webhook that has made work due; the oldest ones are deleted."""

    __tablename__ = "scm_webhook_delivery"
    __table_args__ = (sa.UniqueConstraint("webhook", "delivery_id", name="uq_scm_webhook_delivery_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook: Mapped[str] = mapped_column(sa.String(200))
    """Its name in ``GRPC_SCM_WEBHOOKS``."""
    delivery_id: Mapped[str] = mapped_column(sa.String(200))
    """As the provider says it, the same when it sends the delivery again."""
    date_added: Mapped[datetime] = mapped_column(default=now)
