"""Search for a part of a repository's name, in any case; with an index of trigrams where PostgreSQL has them.

The migrations of apps import from here.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.models import Repository

__all__ = ["SEARCH_INDEX", "create_search_index", "include_object", "name_contains", "name_pattern"]

SEARCH_INDEX = "ix_scm_repository_name_trigrams"
"""Name of the index, which is not in the metadata: only the database knows whether it can create the index."""

# pg_trgm comes with PostgreSQL, but not with every build of it, and not every role may create it. A block that handles
# its errors is undone by itself, without harm to the transaction around it; being SQL, it is also in the scripts that
# `flask db upgrade --sql` prints.
# The column has the collation "C", for the order of pages, which knows no upper case beyond ASCII.
create_search_index = sa.DDL(  # type: ignore[no-untyped-call]  # not typed by SQLAlchemy
    f"""
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX IF NOT EXISTS {SEARCH_INDEX} ON scm_repository USING gin (name COLLATE "default" gin_trgm_ops);
EXCEPTION WHEN feature_not_supported OR undefined_file OR undefined_object OR insufficient_privilege THEN
    RAISE NOTICE 'no index for the search for names: %%', SQLERRM;
END
$$
"""
).execute_if(dialect="postgresql")
"""Create the index, unless this database or this role cannot: searches are slower then."""

sa.event.listen(Repository.__table__, "after_create", create_search_index)


def include_object(item: object, name: str | None, *_: object) -> bool:
    """Tell alembic to ignore the index, which it would drop because the metadata does not have it."""
    return name != SEARCH_INDEX


def name_pattern(text: str) -> str:
    """Escape the wildcards of LIKE."""
    return re.sub("[/%_]", r"/\g<0>", text)


def name_contains(pattern: sa.BindParameter[str], dialect: str) -> sa.ColumnElement[bool]:
    """Build the condition that the name of a repository contains a pattern, in any case."""
    name: sa.ColumnElement[str] = Repository.__table__.c.name
    if dialect == "postgresql":
        name = sa.collate(name, "default")
    return name.icontains(pattern, escape="/")
