"""Things that the sync of an organization begins with: its rows, its last listings, and its run that has not ended.

The latter two are in ``sync_state`` of its installations, as JSON, so that a worker that is older or newer can read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import OrganizationIntegration, Repository
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider, remote_at_provider, unnumbered_id
from flask_grpcweb_scm.scm.queries.tenancy import installations_of
from flask_grpcweb_scm.scm.sync.listing import Page, Place
from flask_grpcweb_scm.scm.sync.plan import KnownRepository, ListedRepository

__all__ = [
    "begin_run",
    "end_run",
    "known_repositories",
    "last_listed",
    "path_key",
    "save_pages",
    "stored_pages",
]

LONGEST_RUN = timedelta(hours=1)
"""After which what a run has synced is synced again."""

State = dict[str, Any]


def begin_run(organization_id: int) -> datetime:
    """Return when the run began that has not ended; now, when none is left, or that was long ago. Commits."""
    now = database_now()
    rows = [row for _, row in sorted(installations_of(organization_id).items())]
    begun = [datetime.fromisoformat(_state(row)["since"]) for row in rows if _state(row).get("since")]
    if begun and now - max(begun) < LONGEST_RUN:
        return max(begun)
    for row in rows[:1]:
        row.sync_state = {**_state(row), "since": now.isoformat()}
    release_connection()
    return now


def end_run(organization_id: int) -> None:
    """Note that a run is complete: the next one syncs everything again. Commits."""
    for row in installations_of(organization_id).values():
        if _state(row).get("since"):
            row.sync_state = {**_state(row), "since": None}
    release_connection()


def _state(installation: OrganizationIntegration) -> State:
    return dict(installation.sync_state or {})


def stored_pages(installation: OrganizationIntegration, place: Place) -> dict[str, Page]:
    """Return the pages of the last listing by their cursors; none when it was of another place."""
    state = _state(installation)
    if state.get("place") != _written(place):
        return {}
    return {
        page["cursor"]: Page(
            [ListedRepository(*row) for row in page["rows"]], page["next"], page["etag"], page["total"]
        )
        for page in state.get("pages", ())
    }


def last_listed(installation: OrganizationIntegration) -> Iterator[ListedRepository]:
    """Yield the repositories of the last listing."""
    state = _state(installation)
    if state.get("place", [])[2:] == [[*ListedRepository._fields]]:
        yield from (ListedRepository(*row) for page in state.get("pages", ()) for row in page["rows"])


def save_pages(installation_id: int, place: Place, pages: Mapping[str, Page]) -> None:
    """Store pages by their cursors. Commits."""
    installation = db.session.get(OrganizationIntegration, installation_id)
    if installation is not None:
        installation.sync_state = {
            **_state(installation),
            "place": _written(place),
            "pages": [
                {"cursor": cursor, "rows": [[*row] for row in page.repositories], **_rest(page)}
                for cursor, page in pages.items()
            ],
        }
    release_connection()


def _written(place: Place) -> list[Any]:
    """Return what pages are of; another version may have other fields."""
    return [place.path, dict(place.query), [*ListedRepository._fields]]


def _rest(page: Page) -> State:
    return {"next": page.next, "etag": page.etag, "total": page.total}


def path_key(provider: str) -> str:
    """Return where the configuration of a repository has its name at the provider, if that is too long for its own."""
    return "path" if provider_name(provider) == "gitlab" else "name"


def known_repositories(
    organization_id: int, installations: Mapping[int, OrganizationIntegration]
) -> list[KnownRepository]:
    """Read the rows of an organization, as a plan needs them."""
    hosts = {key: host_at_provider(row.integration.provider, row.integration) for key, row in installations.items()}
    columns = (
        *(Repository.id, Repository.integration_id, Repository.provider, Repository.external_id, Repository.name),
        *(Repository.url, Repository.default_branch, Repository.status, Repository.synced_status, Repository.remote),
        Repository.config,
    )
    rows = db.session.execute(sa.select(*columns).where(Repository.organization_id == organization_id))
    known = []
    for row in rows.all():
        path = str(row.config.get(path_key(row.provider)) or "")
        installation = installations.get(row.integration_id)
        integration = None if installation is None else installation.integration
        known.append(
            KnownRepository(
                id=row.id,
                integration_id=row.integration_id,
                provider=row.provider,
                external_id=row.external_id,
                name=row.name,
                url=row.url,
                default_branch=row.default_branch,
                status=row.status,
                remote=row.remote or remote_at_provider(row.provider, integration, path or row.name),
                host=hosts.get(row.integration_id) or None,
                is_numbered=_is_numbered(row.external_id, row.remote, {row.name, path}),
                synced_status=row.synced_status,
                path=path,
            )
        )
    return known


def _is_numbered(external_id: str | None, remote: str | None, names: Collection[str]) -> bool:
    """Tell whether a provider has given a row its id; else it is the row's remote or its name."""
    own = {unnumbered_id(remote, ""), *(unnumbered_id(None, name) for name in names)}
    return external_id is not None and external_id not in own and "/" not in external_id
