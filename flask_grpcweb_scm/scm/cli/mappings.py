"""``flask scm mappings check``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext, printable
from flask_grpcweb_scm.scm.cli.commands import (
    command,
    fail,
    organization_named,
    print_result,
    project_named,
    scm_cli,
)
from flask_grpcweb_scm.scm.code_mappings.check import CheckedMapping, check_mappings
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Project

__all__ = ["check_command", "mappings_cli"]


@scm_cli.group("mappings")
def mappings_cli() -> None:
    """Look at the code mappings that are stored."""


@command("check", mappings_cli)
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="[PROJECT]", required=False)
@click.option("--fix", is_flag=True, help="Delete generated mappings that no path needs.")
def check_command(organization: str, project: str | None, fix: bool, as_json: bool) -> None:
    """Find code mappings that lead to no file, and those that hide others.

    Exits with 1 when a mapping is left that is wrong, or whose repository could not be read.
    """
    rows = [project_named(organization, project)] if project else _projects_of(organization)
    checked = [(row.slug, check) for row in rows for check in check_mappings(row, CallContext())]
    facts = [_facts(slug, check, fixed=fix and check.can_be_deleted) for slug, check in checked]
    for fact, (_, check) in zip(facts, checked, strict=True):
        if fact["fixed"]:
            db.session.delete(check.mapping)
    db.session.commit()
    wrong = [fact for fact in facts if fact["problem"] and not fact["fixed"]]
    text = "\n".join([line for fact in facts for line in _lines(fact, fix=fix)])
    summary = f"{len(facts)} code mappings, {len(wrong)} wrong"
    print_result(as_json, "\n".join(filter(None, [text, summary])), mappings=facts, wrong=len(wrong))
    if wrong:
        click.get_current_context().exit(1)


def _projects_of(organization: str) -> Sequence[Project]:
    rows = sa.select(Project).filter_by(organization_id=organization_named(organization).id).order_by(Project.slug)
    projects: Sequence[Project] = db.session.scalars(rows).all()
    if not projects:
        fail(f"{organization!r} has no projects; run: flask scm add-project {organization} SLUG")
    return projects


def _facts(project: str, check: CheckedMapping, *, fixed: bool) -> dict[str, Any]:
    mapping = check.mapping
    return {
        "id": mapping.id,
        "project": project,
        "stack_root": mapping.stack_root,
        "source_root": mapping.source_root,
        "repository": mapping.repository.name,
        "branch": mapping.default_branch,
        "automatically_generated": mapping.automatically_generated,
        "problem": check.problem,
        "reason": check.reason,
        "fixed": fixed,
        "hides": [{"id": row_id, "paths": len(paths), "example": paths[0]} for row_id, paths in check.hides.items()],
    }


def _lines(fact: dict[str, Any], *, fix: bool) -> list[str]:
    """Say what is wrong with a mapping; nothing of one that is right."""
    if not fact["problem"] and not fact["hides"]:
        return []
    way_out = "delete it, or correct its source root, unless its files come back"
    if fact["automatically_generated"]:
        way_out = "--fix deletes it"
    if fact["fixed"]:
        way_out = "deleted"
    if fact["problem"] == "unreadable":
        way_out = "nothing is known of it"
    head = "code mapping {id} of {project}, {stack_root!r} to {source_root!r} in {repository}"
    lines = [head.format(**fact)]
    if fact["problem"]:
        lines.append(f"    {fact['problem']}: {fact['reason']}; {way_out}")
    lines += [
        f"    hides {hidden['paths']} paths of code mapping {hidden['id']}, such as {hidden['example']}"
        for hidden in fact["hides"]
    ]
    return [printable(line) for line in lines]
