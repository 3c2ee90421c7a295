"""The repository that the commits of a local git repository go to.

Two remotes are never one repository, whatever their folders are called; all URLs of a remote are. A git repository
without a remote goes by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import urlsplit

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import Commit, Integration, Organization, Repository
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.queries.tenancy import EXISTING
from flask_grpcweb_scm.scm.remotes import (
    MAX_EXTERNAL_ID_CHARACTERS,
    guess_provider,
    key_of_remote,
    local_key,
    own_external_id,
    parse_remote,
    public_url,
    remote_of,
    without_credentials,
)
from flask_grpcweb_scm.scm.sources.mirror import Mirror

__all__ = ["ImportFailed", "find_destination", "host_at_provider", "remote_at_provider", "unnumbered_id"]

MAX_CANDIDATES = 20
# Of providers that have one host for everybody.
HOSTS = {"github": "github.com", "gitlab": "gitlab.com", "bitbucket": "bitbucket.org"}


class ImportFailed(Exception):
    """Raised when the history has no repository to go to, or there is none; the text says why."""


def unnumbered_id(remote: str | None, name: str) -> str:
    """Make the external id of a repository that no provider has numbered: its remote, or else its name.

    A path of this machine is private.
    """
    if remote is None:
        return own_external_id(name, MAX_EXTERNAL_ID_CHARACTERS)
    return own_external_id(remote, 0 if remote.startswith("/") else MAX_EXTERNAL_ID_CHARACTERS)


def find_destination(organization: Organization, mirror: Mirror, name: str, *, is_chosen: bool) -> Repository:
    """Return the organization's repository with the mirror's remote, or else with a name, added if there is none.

    Its source is the mirror from the next commit of the session on.

    :param is_chosen: False for a name that nobody has given.
    :raises ImportFailed: when it cannot be told, or is being deleted.
    """
    url = mirror.remote_url()
    remote = key_of_remote(url, mirror.folder)
    row = _with_remote(organization, url, remote, name, is_chosen=is_chosen) if remote is not None else None
    if row is None:
        row = _with_name(organization, mirror, url, remote, name) or _add(organization, url, remote, name)
    row.mirror_path = mirror.git_dir
    if remote is None:
        return row
    if remote_of(row.url) != remote:
        row.url = public_url(url) or row.url
    if row.external_id in {None, unnumbered_id(None, row.name)} and _with_id(row, unnumbered_id(remote, name)) is None:
        row.external_id = unnumbered_id(remote, name)
    row.remote = remote
    return row


def _with_remote(organization: Organization, url: str, remote: str, name: str, *, is_chosen: bool) -> Repository | None:
    of_organization = sa.select(Repository).where(Repository.organization_id == organization.id, EXISTING)
    with_remote = of_organization.where(Repository.remote == remote)
    rows: list[Repository] = [*db.session.scalars(with_remote.limit(MAX_CANDIDATES))]
    host = parse_remote(url)
    if host is not None:
        # Providers know repositories by their paths, with no URL.
        named = of_organization.where(Repository.remote.is_(None), Repository.name.in_({host.path, host.path.lower()}))
        rows += [row for row in db.session.scalars(named.limit(MAX_CANDIDATES)) if _known_remote(row) == remote]
    chosen = [row for row in rows if row.name == name]
    if len(chosen) == 1:
        return chosen[0]
    if len(rows) > 1:
        _fail_several(organization, rows, f"of {_shown(url)}")
    if rows and is_chosen:
        row = rows[0]
        raise ImportFailed(
            f"{_shown(url)} is repository {row.name!r} of {organization.slug!r} already; leave --name out, or run:"
            f" flask scm rename repository {organization.slug} {row.id} NAME"
        )
    return next(iter(rows), None)


def _with_name(
    organization: Organization, mirror: Mirror, url: str, remote: str | None, name: str
) -> Repository | None:
    named = sa.select(Repository).where(Repository.organization_id == organization.id, Repository.name == name)
    rows: Sequence[Repository] = db.session.scalars(named.where(EXISTING).limit(MAX_CANDIDATES)).all()
    fitting = [row for row in rows if _may_be(row, mirror, url, remote)]
    if len(fitting) > 1:
        _fail_several(organization, fitting, repr(name))
    if rows and not fitting:
        row, known = rows[0], public_url(rows[0].url) or _known_remote(rows[0])
        is_other = f"is {known}" if known else "has another history"
        host = parse_remote(url)
        other = host.path if host is not None and host.path != name and " " not in host.path else f"{name}-2"
        raise ImportFailed(
            f"repository {name!r} of {organization.slug!r} {is_other}, and this is {_shown(url) or mirror.git_dir};"
            f" give it a name of its own, such as --name {other}, or if it has moved, run: flask scm rename repository"
            f" {organization.slug} {row.id} --url URL"
        )
    return next(iter(fitting), None)


def _may_be(row: Repository, mirror: Mirror, url: str, remote: str | None) -> bool:
    """Tell whether a repository with the mirror's name, and with no remote or another one, can be the mirror's."""
    if remote is None:
        return row.remote is None or row.remote == local_key(mirror.git_dir) or _shares_history(row, mirror)
    if _known_remote(row) is not None:
        return False
    provider, guess = provider_name(row.provider), guess_provider(url)
    is_elsewhere = provider not in {"", guess} if guess else provider in {"github", "bitbucket"}
    return not is_elsewhere and (row.mirror_path is None or _shares_history(row, mirror))


def _known_remote(row: Repository) -> str | None:
    path = str(row.config.get("name") or row.config.get("path") or row.name)
    return row.remote or remote_at_provider(row.provider, row.integration, path)


def remote_at_provider(provider: str, integration: Integration | None, path: str) -> str | None:
    """Return the remote of a repository that a provider knows by its path; None when there is no telling."""
    host = host_at_provider(provider, integration)
    return remote_of(f"https://{host}/{path}") if host and "/" in path else None


def host_at_provider(provider: str, integration: Integration | None) -> str:
    """Return the host of a provider's repositories, as remotes have it; empty when there is no telling."""
    base_url = integration.metadata_.get("base_url") if integration is not None else None
    host = urlsplit(str(base_url)).netloc if base_url else HOSTS.get(provider_name(provider), "")
    remote = parse_remote(f"https://{host}/owner/name")
    return host if remote is None else remote.host


def _shares_history(row: Repository, mirror: Mirror) -> bool:
    key = row.imported_key
    if key is None:
        newest = sa.select(Commit.key).where(Commit.repository_id == row.id).order_by(Commit.id.desc())
        key = db.session.scalars(newest.limit(1)).one_or_none()
    return key is not None and mirror.has_commit(key)


def _add(organization: Organization, url: str, remote: str | None, name: str) -> Repository:
    unique = {
        "organization_id": organization.id,
        "provider": guess_provider(url),
        "external_id": unnumbered_id(remote, name),
    }
    statement = insert_new(Repository).values(**unique, name=name, url=public_url(url), remote=remote)
    row = db.session.scalars(statement.returning(Repository)).one_or_none()
    if row is not None:
        return row
    # Another process has just added it, or it has another name, or is being deleted.
    row = db.session.scalars(sa.select(Repository).filter_by(**unique)).one()
    if db.session.scalar(sa.select(Repository.id).where(Repository.id == row.id, EXISTING)) is None:
        way_out = "use another --name" if remote is None else "run this again when it is gone"
        raise ImportFailed(f"a repository {row.name!r} of {organization.slug!r} is being deleted; {way_out}")
    if remote is None and row.name != name:
        raise ImportFailed(f"repository {row.name!r} of {organization.slug!r} was {name!r}; use another --name")
    return row


def _with_id(row: Repository, external_id: str) -> int | None:
    same = [Repository.organization_id == row.organization_id, Repository.provider == row.provider]
    return db.session.scalar(sa.select(Repository.id).where(*same, Repository.external_id == external_id))


def _fail_several(organization: Organization, rows: Sequence[Repository], which: str) -> NoReturn:
    names = {row.name for row in rows}
    way_out = "use --name" if len(names) == 1 else f"choose one by --name: {', '.join(map(repr, sorted(names)))}"
    raise ImportFailed(f"organization {organization.slug!r} has several repositories {which}; {way_out}")


def _shown(url: str) -> str:
    public = public_url(url)
    return public if public and public.isprintable() else repr(without_credentials(url)) if url else ""
