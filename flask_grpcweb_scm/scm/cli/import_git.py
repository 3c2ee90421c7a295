"""``flask scm import-git``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from flask_grpcweb_scm.scm.cli.command import command, fitting, organization_named, print_result
from flask_grpcweb_scm.scm.git_import.importer import prepare_import
from flask_grpcweb_scm.scm.sources.mirror import Mirror

__all__ = ["import_git_command"]


@command("import-git")
@click.argument("organization", metavar="ORG")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", callback=fitting(200), help="Name of the repository. Default: the directory's.")
@click.option("--branch", callback=fitting(255), help="Default: the one that is checked out.")
def import_git_command(organization: str, path: Path, name: str | None, branch: str | None, as_json: bool) -> None:
    """Import the commits, authors and file changes of a local git repository.

    A second import adds what is new. The repository stays where it is: lines are blamed there.
    """
    started = time.monotonic()
    name = name or path.resolve().name.removesuffix(".git")
    job = prepare_import(organization_named(organization), Mirror.find(path), name, branch=branch)
    with click.progressbar(length=job.total, label=f"importing {name}", file=sys.stderr) as bar:
        for count in job.run():
            bar.update(count)
    seconds = time.monotonic() - started
    row_id = job.repository.id
    text = f"imported {job.stored} commits into repository {name!r} with id {row_id} in {seconds:.1f} s"
    print_result(as_json, text, id=row_id, name=name, commits=job.stored, seconds=round(seconds, 3))
