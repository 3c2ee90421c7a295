"""Columns that repeat a value of another row, or of their own."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import CodeMapping, Commit, CommitFileChange, db
from tests.scm.support import Tenant

DATE = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)


@pytest.mark.parametrize("how", ["relationship", "insert"])
def test_a_file_change_repeats_the_repository_and_the_date_of_its_commit(app: Flask, ours: Tenant, how: str) -> None:
    with app.app_context():
        commit = Commit(repository_id=ours.repository, key="a" * 40, date_added=DATE)
        db.session.add(commit)
        if how == "relationship":
            db.session.add(CommitFileChange(commit=commit, filename="x.py", type="A"))
        else:
            db.session.flush()
            values = {"commit_id": commit.id, "filename": "x.py", "type": "A"}
            db.session.execute(sa.insert(CommitFileChange), [values, {**values, "filename": "y.py"}])
        db.session.commit()
        db.session.expire_all()
        changes = db.session.scalars(sa.select(CommitFileChange)).all()
        assert {(change.repository_id, change.date_added) for change in changes} == {(ours.repository, DATE)}


def test_longer_stack_roots_come_first(app: Flask, ours: Tenant) -> None:
    with app.app_context():
        ids = {"organization_id": ours.organization, "project_id": ours.project, "repository_id": ours.repository}
        db.session.add_all([CodeMapping(**ids, stack_root=root) for root in ("", "/ä", "/app/")])
        db.session.commit()
        rows = db.session.scalars(sa.select(CodeMapping).order_by(CodeMapping.root_rank))
        assert [(row.stack_root, row.root_rank) for row in rows] == [("/app/", -5), ("/ä", -2), ("", 0)]
