"""Repositories by their remotes, and authors by name and address.

Until now a repository without a number of its provider's went by its name, so that clones of two remotes could become
one row: it keeps the remote that was imported last. An address had one name, the first that was seen. The names of its
other authors are in git alone: no import counts as done, so that the next one of each repository reads all its commits
once, and corrects those that are stored.

SQLite drops no constraint, and adds a column behind the constraints: there the two tables are made anew, with their
rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from alembic import context, op

revision = "scm0004"
down_revision = "scm0003"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BATCH_ROWS = 1000

BY_NAME = ("uq_scm_commit_author_name", ["organization_id", "email", "name"])
BY_EMAIL = ("uq_scm_commit_author_email", ["organization_id", "email"])


def upgrade() -> None:
    """Add the column of remotes, fill it in, and let an address have several names."""
    if op.get_context().dialect.name == "sqlite":
        with _rows_left_alone():
            _make_authors_anew(*BY_NAME)
            _make_repositories_anew()
    else:
        _replace_constraint(BY_EMAIL, BY_NAME)
        op.add_column("scm_repository", sa.Column("remote", sa.String(512)))
    with_remote = sa.text("remote IS NOT NULL")
    op.create_index(
        "ix_scm_repository_remote",
        "scm_repository",
        ["organization_id", "remote"],
        postgresql_where=with_remote,
        sqlite_where=with_remote,
    )
    if not context.is_offline_mode():
        _note_remotes(op.get_bind())
    op.execute("UPDATE scm_repository SET imported_key = NULL WHERE imported_key IS NOT NULL")


def downgrade() -> None:
    """Drop the column, and leave one author to each address: the one that was stored first."""
    op.execute(
        """
        UPDATE scm_commit SET author_id = (
            SELECT min(earlier.id) FROM scm_commit_author AS author JOIN scm_commit_author AS earlier
                ON earlier.organization_id = author.organization_id AND earlier.email = author.email
            WHERE author.id = scm_commit.author_id)
        WHERE author_id IN (SELECT id FROM scm_commit_author WHERE email IS NOT NULL)
        """
    )
    op.execute(
        """
        DELETE FROM scm_commit_author WHERE email IS NOT NULL AND id > (
            SELECT min(earlier.id) FROM scm_commit_author AS earlier
            WHERE earlier.organization_id = scm_commit_author.organization_id
                AND earlier.email = scm_commit_author.email)
        """
    )
    if op.get_context().dialect.name == "sqlite":
        with _rows_left_alone():
            _make_authors_anew(*BY_EMAIL)
    else:
        _replace_constraint(BY_NAME, BY_EMAIL)
    op.drop_index("ix_scm_repository_remote", table_name="scm_repository")
    op.drop_column("scm_repository", "remote")


def _replace_constraint(before: tuple[str, list[str]], after: tuple[str, list[str]]) -> None:
    name, columns = after
    op.drop_constraint(before[0], "scm_commit_author", type_="unique")
    op.create_unique_constraint(name, "scm_commit_author", columns)


def _make_authors_anew(name: str, columns: list[str]) -> None:
    op.rename_table("scm_commit_author", "scm_commit_author_before")
    op.create_table(
        "scm_commit_author",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("organization_id", NUMBER, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=True),
        sa.Column("external_id", sa.String(length=164), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_commit_author_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_commit_author")),
        sa.UniqueConstraint(*columns, name=name),
        sa.UniqueConstraint("organization_id", "external_id", name="uq_scm_commit_author_external_id"),
    )
    op.execute(
        """
        INSERT INTO scm_commit_author (id, organization_id, name, email, external_id)
        SELECT id, organization_id, name, email, external_id FROM scm_commit_author_before
        """
    )
    op.drop_table("scm_commit_author_before")


def _make_repositories_anew() -> None:
    indexes = {
        "ix_scm_repository_integration_id": ["integration_id"],
        "ix_scm_repository_page": ["organization_id", "status", "name", "id", "provider"],
        "ix_scm_repository_provider": ["organization_id", "status", "provider", "name", "id"],
        "ix_scm_repository_mirror": ["organization_id", "status"],
    }
    for name in indexes:
        op.drop_index(name, table_name="scm_repository")
    op.rename_table("scm_repository", "scm_repository_before")
    op.create_table(
        "scm_repository",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("organization_id", NUMBER, nullable=False),
        sa.Column("integration_id", NUMBER, nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("date_added", sa.DateTime(timezone=True), nullable=False),
        sa.Column("default_branch", sa.String(length=255), nullable=False),
        sa.Column("mirror_path", sa.Text(), nullable=True),
        sa.Column("imported_key", sa.String(length=64), nullable=True),
        sa.Column("remote", sa.String(length=512), nullable=True),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["scm_integration.id"],
            name=op.f("fk_scm_repository_integration_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["scm_organization.id"],
            name=op.f("fk_scm_repository_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scm_repository")),
        sa.UniqueConstraint("organization_id", "provider", "external_id", name="uq_scm_repository_external_id"),
    )
    op.execute(
        """
        INSERT INTO scm_repository (id, organization_id, integration_id, name, url, provider, external_id, config,
            status, date_added, default_branch, mirror_path, imported_key)
        SELECT id, organization_id, integration_id, name, url, provider, external_id, config,
            status, date_added, default_branch, mirror_path, imported_key FROM scm_repository_before
        """
    )
    op.drop_table("scm_repository_before")
    for name, columns in indexes.items():
        mirrored = sa.text("mirror_path IS NOT NULL") if name == "ix_scm_repository_mirror" else None
        op.create_index(name, "scm_repository", columns, sqlite_where=mirrored)


@contextmanager
def _rows_left_alone() -> Iterator[None]:
    """Keep SQLite from deleting what refers to rows of a table that is made anew, in one transaction.

    A foreign key follows a table that is renamed, unless legacy_alter_table says otherwise; a table that is dropped
    loses its rows first; and a transaction keeps its foreign_keys (sqlite.org/lang_altertable.html, pragma.html).
    """
    had_keys = context.is_offline_mode() or op.get_bind().scalar(sa.text("PRAGMA foreign_keys"))
    with op.get_context().autocommit_block():
        op.execute("PRAGMA foreign_keys = OFF")
        op.execute("PRAGMA legacy_alter_table = ON")
        op.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            op.execute("ROLLBACK")
            raise
        else:
            op.execute("COMMIT")
        finally:
            op.execute("PRAGMA legacy_alter_table = OFF")
            if had_keys:
                op.execute("PRAGMA foreign_keys = ON")


# Remotes, as the package read them when this was written


def _note_remotes(connection: sa.Connection) -> None:
    """Fill in the remotes, which also replace the names that unnumbered rows went by."""
    repository = sa.table(
        "scm_repository",
        *[sa.column(name) for name in ("id", "organization_id", "provider", "external_id", "name", "url", "remote")],
    )
    columns = repository.c
    last = 0
    while True:
        page = sa.select(columns.id, columns.organization_id, columns.provider, columns.external_id, columns.name)
        page = page.add_columns(columns.url).where(columns.id > last).order_by(columns.id).limit(BATCH_ROWS)
        rows = connection.execute(page).all()
        if not rows:
            return
        for row in rows:
            remote = _remote_of(row.url or "")
            if remote is None:
                continue
            values = {"remote": remote}
            external_id = _own_external_id(remote, 64)
            if row.external_id in {None, _own_external_id(row.name, 64)} and not _is_known(
                connection, columns, row, external_id
            ):
                values["external_id"] = external_id
            connection.execute(sa.update(repository).where(columns.id == row.id).values(values))
        last = rows[-1].id


def _is_known(connection: sa.Connection, columns: Any, row: Any, external_id: str) -> bool:
    same = [columns.organization_id == row.organization_id, columns.provider == row.provider]
    return connection.scalar(sa.select(columns.id).where(*same, columns.external_id == external_id)) is not None


HOSTS: Sequence[str] = ("github.com", "gitlab.com", "bitbucket.org", "dev.azure.com")
OTHER_NAMES = {
    "www.github.com": "github.com",
    "api.github.com": "github.com",
    "ssh.github.com": "github.com",
    "www.gitlab.com": "gitlab.com",
    "altssh.gitlab.com": "gitlab.com",
    "www.bitbucket.org": "bitbucket.org",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
    "vs-ssh.visualstudio.com": "dev.azure.com",
}
PORTS = {"https": 443, "http": 80, "ssh": 22, "git+ssh": 22, "ssh+git": 22, "git": 9418}
SCP_LIKE = re.compile(r"(?:(?P<user>[^@:/\s]+)(?::[^@/\s]*)?@)?(?P<host>[^@:/\s]{2,}):(?!//|:)(?P<path>[^\s]+)")


def _remote_of(url: str) -> str | None:
    """Read the URL of a remote; None when it names no repository on a host."""
    scp_like = SCP_LIKE.fullmatch(url)
    if scp_like is not None:
        scheme, host, port, path = "ssh", scp_like["host"], None, scp_like["path"]
    else:
        try:
            parts = urlsplit(url)
            scheme, host, port, path = parts.scheme, parts.hostname or "", parts.port, unquote(parts.path)
        except ValueError:
            return None
    host, path = host.lower().rstrip("."), "/".join(part for part in path.split("/") if part)
    path = re.sub(r"(?<=[^/])\.git\Z", "", path, flags=re.IGNORECASE)
    if scheme not in PORTS or not host or not path:
        return None
    if host in OTHER_NAMES:
        host, port = OTHER_NAMES[host], None
    if host.endswith(".visualstudio.com"):
        host, path = "dev.azure.com", f"{host.partition('.')[0]}/{path.removeprefix('DefaultCollection/')}"
    if host == "dev.azure.com":
        path = path.removeprefix("v3/").replace("/_git/", "/")
    elif host in HOSTS:
        path = path.partition("/-/")[0] if host == "gitlab.com" else "/".join(path.split("/")[:2])
    place = f"[{host}]" if ":" in host else host
    place = place if port is None or port == PORTS[scheme] else f"{place}:{port}"
    return _own_external_id(f"{place}/{path.lower() if place in HOSTS else path}", 512)


def _own_external_id(name: str, limit: int) -> str:
    return name if len(name) <= limit else hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
