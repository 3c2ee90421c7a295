"""``python -m tests.scm.planted python``: plant bugs, run them, and see who is suspected."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from flask_grpcweb_scm.scm import db
from tests.scm.databases import disposed
from tests.scm.planted.bugs import Bugs
from tests.scm.planted.history import MOVES
from tests.scm.planted.program import KINDS, LANGUAGES
from tests.scm.planted.runtimes import missing_command
from tests.scm.support import make_app


@click.command()
@click.argument("language", type=click.Choice(LANGUAGES))
@click.option("--bug", type=click.Choice(KINDS), help="Only this one, with its stack trace.")
@click.option("--seed", default=1, show_default=True, help="Another seed is another history.")
@click.option("--moves", type=click.Choice(list(MOVES)), default="both", show_default=True, help="After the culprits.")
@click.option("--released", is_flag=True, help="A commit before the newest ones runs.")
@click.option("--folder", type=click.Path(path_type=Path, exists=False), help="To make, and to keep.")
def main(language: str, bug: str | None, seed: int, moves: str, released: bool, folder: Path | None) -> None:
    """Plant bugs in a history, run them, and print the suspects; exits with 1 when an innocent comes first."""
    missing = missing_command(language)
    if missing:
        raise click.ClickException(missing)
    made = folder or Path(tempfile.mkdtemp(prefix="planted-"))
    made.mkdir(exist_ok=True)
    wrong = 0
    with disposed(make_app(f"sqlite:///{made}/scm.db")) as app:
        with app.app_context():
            db.create_all()
        bugs = Bugs(app, made, language, seed=seed, moves=moves, released=released, end=int(time.time()) - 3600)
        click.echo(f"{len(bugs.history.commits)} commits in {bugs.history.git_dir}")
        for kind in [bug] if bug else KINDS:
            culprit = bugs.history.of(kind)
            if bug:
                click.echo(f"\n{bugs.traces[kind]}")
            found = bugs.suspects(kind, first_seen=culprit.seconds + 7200).suspects
            right = bool(found) and found[0].commit_id == culprit.sha
            wrong += not right
            click.echo(f"\n{kind}: {culprit.sha} of {culprit.author[0]} is {'found' if right else 'NOT FOUND'}")
            for place, suspect in enumerate(found[:3], 1):
                click.echo(f"  {place}. {suspect.commit_id[:10]} {suspect.author.name}: {suspect.subject}")
                click.echo(f"     {suspect.reason}")
    raise SystemExit(min(wrong, 1))


if __name__ == "__main__":
    main()
