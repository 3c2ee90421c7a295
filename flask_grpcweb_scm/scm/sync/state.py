"""The last listings of an organization, and its run that has not ended, in ``sync_state`` of its installations.

It is JSON, so that a worker that is older or newer can read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import OrganizationIntegration
from flask_grpcweb_scm.scm.queries.tenancy import installations_of
from flask_grpcweb_scm.scm.sync.listing import Page, Place
from flask_grpcweb_scm.scm.sync.plan import ListedRepository

__all__ = [
    "begin_run",
    "end_run",
    "last_listed",
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
