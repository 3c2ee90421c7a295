"""Trigrams for the search for repositories, where PostgreSQL has them.

pg_trgm comes with PostgreSQL, but not with every build of it, and not every role may create it. A block that handles
its errors is rolled back by itself, without harm to the transaction around it; being SQL, it is also in the scripts
that `flask db upgrade --sql` prints.
"""

from __future__ import annotations

from alembic import op

revision = "scm0002"
down_revision = "scm0001"
branch_labels = None
depends_on = None

CREATE = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX IF NOT EXISTS ix_scm_repository_name_trigrams
        ON scm_repository USING gin (name COLLATE "default" gin_trgm_ops);
EXCEPTION WHEN feature_not_supported OR undefined_file OR undefined_object OR insufficient_privilege THEN
    RAISE NOTICE 'no index for the search for names: %', SQLERRM;
END
$$
"""


def upgrade() -> None:
    """Create the index, unless this database or this role cannot."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(CREATE)


def downgrade() -> None:
    """Drop the index, and keep the extension, which others may use."""
    op.execute("DROP INDEX IF EXISTS ix_scm_repository_name_trigrams")
