"""Trigrams for the search for repositories, where PostgreSQL has them.

Written by hand: whether the index can be made is known only to the database.
"""

from __future__ import annotations

from alembic import op

from flask_grpcweb_scm.scm.database.name_search import SEARCH_INDEX, create_search_index

revision = "scm0002"
down_revision = "scm0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it; see :mod:`flask_grpcweb_scm.scm.search`."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(create_search_index)


def downgrade() -> None:
    """Leave the extension, which others may use."""
    op.execute(f"DROP INDEX IF EXISTS {SEARCH_INDEX}")
