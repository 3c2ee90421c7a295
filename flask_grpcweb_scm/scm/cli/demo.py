"""``flask scm demo``: an organization with a bit of everything, and a bug whose commit can be found.

The history comes from ``demo/shop.fast-import``, the stack trace of its program at the newest commit from
``demo/traceback.txt``. Its SHAs are always the same, so that documents can name them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from flask import current_app

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.cli.commands import command, fail, print_result
from flask_grpcweb_scm.scm.cli.rows import get_or_add
from flask_grpcweb_scm.scm.database.db import Model, db
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Group,
    GroupLink,
    Integration,
    LinkedType,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
)
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.service.external_issues import create_external_issue
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources.git import run_git
from flask_grpcweb_scm.scm.sources.mirror import Mirror

__all__ = ["demo_command"]

DATA = Path(__file__).parent.parent / "demo"
ORGANIZATION, REPOSITORY, WEB = "acme", "acme/shop", "acme/web"
URL = "https://gitlab.acme.example/acme/shop"
OTHER, OTHER_ID = "example", 123
"""Another tenant; scripts of the first version call the organization with this id, and integration 1."""
GIT_CONFIG = f'[core]\n\trepositoryformatversion = 0\n\tbare = true\n[remote "origin"]\n\turl = {URL}.git\n'


@command("demo")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Of its git repository. Default: instance/demo."
)
def demo_command(folder: Path | None, as_json: bool) -> None:
    """Fill the database with an example: two organizations, a history, and a bug with its stack trace.

    The tables are created if there are none. What there is of the example already stays as it is.
    """
    if not sa.inspect(db.engine).has_table(Organization.__tablename__):
        db.create_all()
    _check_own()
    folder = (folder or Path(current_app.instance_path, "demo")).absolute()
    try:
        git_dir, traceback = _write_files(folder)
    except OSError as error:
        fail(f"{str(folder)!r} cannot be written: {error.strerror or error}; name another by --folder")
    ids = _add_rows()
    db.session.commit()
    organization = db.session.get_one(Organization, ids["organization"])
    mirror = Mirror.find(git_dir, memory=current_settings().git_memory_bytes)
    for _ in prepare_import(organization, mirror, REPOSITORY, is_chosen=False).run():
        pass
    text = f"""\
organization {ids["organization"]}: {ORGANIZATION}
projects {ids["project"]}: shop, {ids["other_project"]}: web
repositories {ids["repository"]}: {REPOSITORY}, {ids["other_repository"]}: {WEB}
error groups {ids["group"]}: KeyError: 'CH', {ids["linked_group"]}: with external issue {ids["issue"]}
integration {ids["integration"]}: issues of this database
organization {ids["other_organization"]}: {OTHER}, another tenant
stack trace of shop: {traceback}"""
    print_result(as_json, text, **ids, traceback=str(traceback))


def _check_own() -> None:
    """Refuse an organization of that name that is not of the example."""
    named = sa.select(Organization.id).filter_by(slug=ORGANIZATION)
    own = sa.select(Repository.id).filter_by(name=REPOSITORY, url=URL).join(Organization).filter_by(slug=ORGANIZATION)
    if db.session.scalar(named) is not None and db.session.scalars(own.limit(1)).first() is None:
        fail(
            f"there is an organization {ORGANIZATION!r} already, without the example's repository {REPOSITORY!r};"
            f" nothing is changed. See: flask scm rename organization {ORGANIZATION} NAME"
        )


def _write_files(folder: Path) -> tuple[Path, Path]:
    """Write the git repository and the stack trace, where they are not yet."""
    folder.mkdir(parents=True, exist_ok=True)
    git_dir, traceback = folder / "shop.git", folder / "traceback.txt"
    if not git_dir.exists():
        made = Path(tempfile.mkdtemp(prefix="shop-", dir=folder))
        try:
            _write_repository(made)
            os.rename(made, git_dir)
        except OSError:
            if not git_dir.exists():  # or else another process has just made it
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    shutil.copyfile(DATA / "traceback.txt", traceback)
    return git_dir, traceback


def _write_repository(git_dir: Path) -> None:
    for name in ("objects", "refs"):
        (git_dir / name).mkdir()
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    (git_dir / "config").write_text(GIT_CONFIG)
    history = (DATA / "shop.fast-import").read_bytes()
    for _ in run_git(str(git_dir), "fast-import", "--quiet", deadline=None, stdin=history):
        pass


def _add_rows() -> dict[str, int]:
    """Add the rows that are missing, and return the ids of all."""
    acme = _add(Organization, {"slug": ORGANIZATION}, name="Acme Inc.")
    integration = _add(Integration, {"provider": "example", "external_id": "example"}, name="Issues of this database")
    _add(OrganizationIntegration, {"organization_id": acme, "integration_id": integration})
    shop = _add(Project, {"organization_id": acme, "slug": "shop"}, name="Shop", platform="python")
    web = _add(Project, {"organization_id": acme, "slug": "web"}, name="Web", platform="javascript")
    on_gitlab = {"organization_id": acme, "provider": "gitlab", "external_id": "1"}
    repository = _add(Repository, on_gitlab, name=REPOSITORY, url=URL, default_branch="main")
    on_github = {"organization_id": acme, "provider": "github", "external_id": "2"}
    other_repository = _add(Repository, on_github, name=WEB)
    error = _add(Group, {"project_id": shop, "short_id": 1}, title="KeyError: 'CH'", first_seen=_on(11, 12))
    known = _add(Group, {"project_id": shop, "short_id": 2}, title="JSONDecodeError", first_seen=_on(9, 30))
    _add(Group, {"project_id": web, "short_id": 1}, title="TypeError: total is undefined", first_seen=_on(10, 21))
    # Where the program was before: its stack traces of today need another mapping.
    old_root = {"project_id": shop, "stack_root": "/opt/shop/"}
    _add(CodeMapping, old_root, organization_id=acme, repository_id=repository, default_branch="main")
    wanted = scm_pb2.CreateExternalIssueRequest(
        organization_id=acme, integration_id=integration, title="Orders that are no JSON", metadata={"labels": "crash"}
    )
    context = CallContext()
    context.metadata.add("idempotency-key", "flask scm demo")
    issue = create_external_issue(wanted, context)
    _add(GroupLink, {"group_id": known, "linked_type": LinkedType.ISSUE, "linked_id": issue.id}, project_id=shop)
    return {
        "organization": acme,
        "project": shop,
        "other_project": web,
        "repository": repository,
        "other_repository": other_repository,
        "group": error,
        "linked_group": known,
        "integration": integration,
        "issue": issue.id,
        "other_organization": _add_other(integration),
    }


def _add_other(integration_id: int) -> int:
    """Add the other tenant, under the id that old scripts have, if that is free."""
    is_free = db.session.get(Organization, OTHER_ID) is None
    other = _add(Organization, {"slug": OTHER}, **({"id": OTHER_ID} if is_free else {}))
    if other == OTHER_ID and db.engine.dialect.name == "postgresql":
        # Its sequence knows nothing of ids that it has not given, and would come to this one.
        sequence = sa.func.pg_get_serial_sequence(Organization.__tablename__, "id")
        highest = sa.select(sa.func.max(Organization.id)).scalar_subquery()
        db.session.execute(sa.select(sa.func.setval(sequence, highest)))
    _add(OrganizationIntegration, {"organization_id": other, "integration_id": integration_id})
    unique = {"organization_id": other, "provider": "", "external_id": "example"}
    _add(Repository, unique, name="example/repository")
    return other


def _add(model: type[Model], unique: dict[str, Any], **values: Any) -> int:
    row, _ = get_or_add(model, unique, **values)
    return int(row.id)


def _on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, 9, 30, tzinfo=timezone.utc)
