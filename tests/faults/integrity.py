"""Whether a database is sound after what was done to it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Repository, db

# Rows whose parent is missing; SQLite and PostgreSQL both promise that there are none.
ORPHANS = [
    (CommitFileChange.commit_id, Commit.id),
    (Commit.repository_id, Repository.id),
    (Commit.author_id, CommitAuthor.id),
]


def check_integrity(app: Flask) -> None:
    """The database's own checks, and foreign keys counted by hand."""
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            assert db.session.execute(sa.text("PRAGMA integrity_check")).scalars().all() == ["ok"]
            assert db.session.execute(sa.text("PRAGMA foreign_key_check")).all() == []
        for child, parent in ORPHANS:
            orphans = sa.select(sa.func.count()).where(child.is_not(None), child.not_in(sa.select(parent)))
            assert db.session.scalar(orphans) == 0, child
