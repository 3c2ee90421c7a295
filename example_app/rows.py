"""``flask --app example_app add-example-rows``: rows for the example scripts of the first version."""

import click
from flask.cli import with_appcontext

from flask_grpcweb_scm.scm import Integration, Organization, OrganizationIntegration, Repository, db

__all__ = ["add_example_rows"]


@click.command("add-example-rows")
@with_appcontext
def add_example_rows() -> None:
    """Add organization 123, with a repository and integration 1; existing rows stay unchanged."""
    if db.session.get(Organization, 123) is None:
        organization = Organization(id=123, slug="example")
        integration = db.session.get(Integration, 1) or Integration(id=1, provider="example", external_id="example")
        installed = OrganizationIntegration(organization=organization, integration=integration)
        repository = Repository(organization=organization, name="example/repository", external_id="example")
        db.session.add_all([organization, integration, installed, repository])
        db.session.commit()
