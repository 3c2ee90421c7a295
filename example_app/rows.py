"""``flask --app example_app add-example-rows``: rows for the first version's scripts, and for stack traces."""

import click
import sqlalchemy as sa
from flask.cli import with_appcontext

from flask_grpcweb_scm.scm import Integration, Organization, OrganizationIntegration, Project, Repository, db

__all__ = ["add_example_rows"]


@click.command("add-example-rows")
@with_appcontext
def add_example_rows() -> None:
    """Add organization 123 with a repository and integration 1, and project web of demo; the rest stays."""
    if db.session.get(Organization, 123) is None:
        organization = Organization(id=123, slug="example")
        integration = db.session.get(Integration, 1) or Integration(id=1, provider="example", external_id="example")
        installed = OrganizationIntegration(organization=organization, integration=integration)
        repository = Repository(organization=organization, name="example/repository", external_id="example")
        db.session.add_all([organization, integration, installed, repository])
    demo = db.session.scalars(sa.select(Organization).filter_by(slug="demo")).one_or_none()
    if demo is not None and not db.session.scalars(sa.select(Project).filter_by(organization_id=demo.id)).all():
        db.session.add(Project(organization=demo, slug="web", platform="python"))
    db.session.commit()
