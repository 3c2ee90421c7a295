"""The sync of an organization: its integrations are listed, and its repositories become what the listings have.

Pages of a listing are stored with their validators, so that the next one, also after a crash, transfers only what has
changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.database.db import db, insert_new, release_connection
from flask_grpcweb_scm.scm.database.models import (
    Integration,
    Job,
    OrganizationIntegration,
    Repository,
    RepositoryStatus,
)
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider
from flask_grpcweb_scm.scm.jobs import SYNC_REPOSITORY, Lease, NoSubject, make_due
from flask_grpcweb_scm.scm.providers import (
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    is_configured,
)
from flask_grpcweb_scm.scm.providers.api import account_of
from flask_grpcweb_scm.scm.providers.reply import SECONDARY_LIMIT_SECONDS
from flask_grpcweb_scm.scm.queries.tenancy import installations_of
from flask_grpcweb_scm.scm.remotes import remote_of
from flask_grpcweb_scm.scm.sync.listing import LISTINGS, Listing, Page, Place
from flask_grpcweb_scm.scm.sync.plan import Account, Action, KnownRepository, ListedRepository, plan_sync
from flask_grpcweb_scm.scm.sync.state import known_repositories, last_listed, path_key, save_pages, stored_pages
from flask_grpcweb_scm.scm.trackers import allowed_projects
from flask_grpcweb_scm.scm.trackers.issues import matches_project

__all__ = ["OrganizationSync", "can_be_listed", "sync_organization"]

BATCH_ACTIONS = 100
MAX_PAGES = 10_000
MAX_CHARACTERS = 64 * 2**20
"""Of all repositories of a listing, which are in memory and in the database; of each :data:`ROW_CHARACTERS` more."""
ROW_CHARACTERS = 300
SAVED_PAGES = 20
"""That are read between two times that all are stored."""
LONGEST_PAUSE_SECONDS = 300.0
"""That a listing waits for the limits of a provider; for longer ones the job itself waits."""
SHORTEST_PAUSE_SECONDS = 1.0
"""Of a listing at a limit, twice as long each time: a provider may say that there is nothing to wait for."""
REMOVED = {"hide", "hand over"}
LOST = (ProviderMisconfigured, ProviderForbidden, ProviderNotFound)
"""Errors of integrations that cannot be listed until a person has changed something."""

T = TypeVar("T")


def can_be_listed(integration: Integration) -> bool:
    """Tell whether the provider of an integration lists repositories."""
    return provider_name(integration.provider) in LISTINGS and is_configured(integration.metadata_)


def sync_organization(organization_id: int, lease: Lease) -> None:
    """List all integrations of an organization, store what has changed, and have each repository synced.

    :raises NoSubject: for an organization without an integration that can be listed.
    :raises ProviderError: the first one, when all integrations have been tried.
    """
    sync = OrganizationSync(organization_id, note=lease.note, check=lease.check)
    if not sync.installations():
        raise NoSubject
    sync.run()
    sync.raise_error()


@dataclass(slots=True)
class OrganizationSync:
    """One sync of an organization.

    :param note: is called with lines for whoever watches.
    :param check: is called between two steps, and may raise to end it.
    :param integration_id: of the only integration to list; None for all.
    :param wanted: names and ids of the only repositories to change, in lower case; None for all.
    """

    organization_id: int
    note: Callable[[str], object]
    check: Callable[[], object] = lambda: None
    integration_id: int | None = None
    wanted: Collection[str] | None = None
    errors: list[ProviderError] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    """Everything that was planned, done or not."""
    found: set[str] = field(default_factory=set)
    """Those of :attr:`wanted` that something was planned for."""

    def installations(self) -> list[OrganizationIntegration]:
        """Return the integrations to list, the oldest first."""
        rows = [row for _, row in sorted(installations_of(self.organization_id).items())]
        return [
            row for row in rows if can_be_listed(row.integration) and self.integration_id in {None, row.integration_id}
        ]

    def run(self, *, since: datetime | None = None, is_dry: bool = False, is_full: bool = False) -> None:
        """List, plan, and store what changes; errors of providers are in :attr:`errors`.

        :param is_dry: store nothing at all.
        :param is_full: have all repositories synced now, but those that were since a time.
        """
        listings: dict[int, _Listed] = {}
        for installation_id in [row.id for row in self.installations()]:
            if (installation := db.session.get(OrganizationIntegration, installation_id)) is not None:
                listings[installation_id] = self._list(installation, is_dry=is_dry)
        # When all are known: a repository that one does not see may be another's.
        for installation_id in listings:
            if db.session.get(OrganizationIntegration, installation_id) is None:
                continue  # uninstalled meanwhile
            actions = self._plan(installation_id, listings, is_dry=is_dry)
            self.actions += actions
            if not is_dry:
                self._make_due(self._store(actions), since=since, is_full=is_full)

    def raise_error(self) -> None:
        """Raise the error that says to wait longest, or else the first one, if there is any.

        :raises ProviderError: in that case.
        """
        if self.errors:
            raise max(self.errors, key=lambda error: error.retry_after or 0.0)

    # Listing

    def _plan(self, installation_id: int, listings: dict[int, _Listed], *, is_dry: bool) -> list[Action]:
        listed = listings[installation_id]
        actions = self._planned(installation_id, listings)
        if any(action.kind in REMOVED for action in actions):
            # A repository that is deleted moves others to the page before, which has been read already.
            again = self._list(db.session.get_one(OrganizationIntegration, installation_id), is_dry=is_dry)
            both = {row.number: row for row in [*listed.repositories, *again.repositories]}
            listings[installation_id] = _Listed(
                [*both.values()], listed.is_complete and again.is_complete, listed.is_lost or again.is_lost
            )
            actions = self._planned(installation_id, listings)
        return actions

    def _planned(self, installation_id: int, listings: Mapping[int, _Listed]) -> list[Action]:
        states = installations_of(self.organization_id)
        integration = next(row.integration for row in states.values() if row.id == installation_id)
        provider = provider_name(integration.provider)
        account = Account(integration.id, provider, host_at_provider(provider, integration))
        listed = listings[installation_id]
        elsewhere: dict[str, int] = {}
        owners = {account.integration_id}
        for key, row in sorted(states.items(), reverse=True):
            other = listings.get(row.id)
            if key in owners or not can_be_listed(row.integration) or (other is not None and other.is_lost):
                continue
            owners.add(key)
            place = provider_name(row.integration.provider), host_at_provider(row.integration.provider, row.integration)
            if place == (account.provider, account.host):
                elsewhere |= dict.fromkeys(self._seen_by(row, other), key)
        known = known_repositories(self.organization_id, states)
        actions = plan_sync(
            account,
            listed.repositories,
            known,
            is_complete=listed.is_complete,
            elsewhere=elsewhere,
            owners=owners,
        )
        return [action for action in actions if self._is_wanted(action, known)]

    @staticmethod
    def _seen_by(installation: OrganizationIntegration, listed: _Listed | None) -> set[str]:
        """Return the numbers of the repositories of an integration; of a listing that broke off, also those before."""
        numbers = set() if listed is None else {row.number for row in listed.repositories}
        if listed is None or not listed.is_complete:
            try:
                allowed = allowed_projects(installation)
            except ProviderMisconfigured:
                return numbers
            numbers |= {row.number for row in last_listed(installation) if _is_allowed(allowed, row)}
        return numbers

    def _is_wanted(self, action: Action, known: Sequence[KnownRepository]) -> bool:
        if self.wanted is None:
            return True
        names = {action.name.lower(), str(action.repository_id)}
        names |= {row.name.lower() for row in known if row.id == action.repository_id}
        found = names.intersection(self.wanted)
        self.found |= found
        return bool(found)

    def _list(self, installation: OrganizationIntegration, *, is_dry: bool) -> _Listed:
        """Read all pages; those that have not changed are not transferred. What was read before an error counts."""
        name = printable(installation.integration.name)
        read: dict[str, Page] = {}
        error: ProviderError | None = None
        allowed: Sequence[str] | None = None
        try:
            allowed = allowed_projects(installation)
            self._read(installation, read, name, is_dry=is_dry)
        except ProviderError as caught:
            release_connection()
            error = caught
            self.errors.append(error)
            self.note(f"integration {name}: {printable(error.private)}")
        repositories: dict[str, ListedRepository] = {}
        for row in [row for page in read.values() for row in page.repositories]:
            before = repositories.setdefault(row.number, row)
            if before != row:
                names = f"{printable(before.name)} and {printable(row.name)}"
                self.note(f"integration {name}: number {row.number} is listed twice, as {names}; the last one counts")
                repositories[row.number] = row
        totals = {page.total for page in read.values() if page.total is not None}
        is_complete = error is None and totals <= {len(repositories)}
        if not is_complete:
            self.note(f"integration {name}: the listing is not complete, so that nothing is hidden")
        wanted = [row for row in repositories.values() if _is_allowed(allowed, row)]
        return _Listed(wanted, is_complete, isinstance(error, LOST))

    def _read(self, installation: OrganizationIntegration, read: dict[str, Page], name: str, *, is_dry: bool) -> None:
        """Read pages by their cursors until the last one.

        :raises ProviderError: when there is more, which cannot be read.
        """
        owner = str(installation.config.get("owner") or "")
        place = self._call(installation, lambda api: api.place(owner))
        pages = stored_pages(installation, place)
        cursor: str | None = ""
        size = 0
        while cursor is not None:
            self.check()
            page = self._page(installation, place, cursor, pages.get(cursor))
            read[cursor] = pages[cursor] = page
            self.note(f"integration {name}: page {len(read)} has {len(page.repositories)} repositories")
            cursor = page.next or None
            size += sum(ROW_CHARACTERS + len(row.name) + len(row.url) for row in page.repositories) + len(page.next)
            # All of them each time: of very many not after each.
            is_saved = cursor is None or len(read) <= SAVED_PAGES or len(read) % SAVED_PAGES == 0
            if not is_dry and is_saved:
                save_pages(installation.id, place, pages if cursor else read)
            if cursor in read or len(read) > MAX_PAGES or size > MAX_CHARACTERS:
                raise self._open(installation).http.unexpected()

    def _page(self, installation: OrganizationIntegration, place: Place, cursor: str, stored: Page | None) -> Page:
        etag = stored.etag if stored is not None else ""
        page = self._call(installation, lambda api: api.page(place, cursor, etag))
        if page is None:
            assert stored is not None  # only then a validator is sent
            return stored
        return page

    def _call(self, installation: OrganizationIntegration, call: Callable[[Listing], T]) -> T:
        """Send a request, and wait as long as the limits of the provider say.

        :raises ProviderRateLimited: when that is long.
        """
        installation_id, waited, shortest = installation.id, 0.0, SHORTEST_PAUSE_SECONDS
        while True:
            api = self._open(installation)
            # Nobody waits for a provider with a connection to the database.
            release_connection()
            try:
                return call(api)
            except ProviderRateLimited as error:
                pause = error.retry_after if error.retry_after is not None else SECONDARY_LIMIT_SECONDS
                pause, shortest = max(pause, shortest), 2 * shortest
                waited += pause
                if waited > LONGEST_PAUSE_SECONDS:
                    raise
                self.note(f"{api.kind} limits the rate of requests; waiting for {pause:.0f} s")
                self._sleep(pause)
            installation = db.session.get_one(OrganizationIntegration, installation_id)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(1.0, left))

    def _open(self, installation: OrganizationIntegration) -> Listing:
        integration = installation.integration
        provider = provider_name(integration.provider)
        return LISTINGS[provider](**account_of(provider, integration.metadata_, integration.external_id, None))

    # Storing

    def _store(self, actions: Sequence[Action]) -> dict[int, Action]:
        """Store all changes; returns what was planned for each row."""
        done: dict[int, Action] = {}
        for first in range(0, len(actions), BATCH_ACTIONS):
            self.check()
            for action in actions[first : first + BATCH_ACTIONS]:
                row_id = self._store_one(action) if action.values else action.repository_id
                if row_id is not None and action.kind != "skip":
                    done[row_id] = action
            db.session.commit()
        return done

    def _store_one(self, action: Action) -> int | None:
        """Store one change; returns the id of its row, or None when another process was faster."""
        values, before = dict(action.values), action.before
        path = values.pop("path", None)
        try:
            with db.session.begin_nested():
                if before is None:
                    config = {path_key(str(values["provider"])): path} if path else {}
                    values |= {"organization_id": self.organization_id, "remote": remote_of(str(values["url"]))}
                    statement = insert_new(Repository).values(**values, config=config).returning(Repository.id)
                    row_id: int | None = db.session.scalars(statement).one_or_none()
                    return row_id
                row = db.session.get(Repository, before.id, populate_existing=True, with_for_update=True)
                if row is None:
                    return None
                if "synced_status" in values and (row.status, row.synced_status) != (
                    *(before.status, before.synced_status),
                ):
                    # A person was faster.
                    del values["synced_status"]
                    values.pop("status", None)
                for name, value in values.items():
                    setattr(row, name, value)
                if path is not None:
                    rest = {key: value for key, value in row.config.items() if key not in {"name", "path"}}
                    row.config = {**rest, **({path_key(row.provider): path} if path else {})}
                return row.id
        except IntegrityError:
            self.note(f"{printable(action.name)} is not changed, for another process changes it; run this again")
            return None

    def _make_due(self, done: Mapping[int, Action], *, since: datetime | None, is_full: bool) -> None:
        """Have repositories synced: those that are new or have changed, and otherwise those that no job is about."""
        known = sa.select(Job.subject_id, Job.succeeded_at)
        mine = known.where(Job.kind == SYNC_REPOSITORY, Job.organization_id == self.organization_id)
        jobs = {row.subject_id: row.succeeded_at for row in db.session.execute(mine)}
        rows = sa.select(Repository.id, Repository.status, Repository.synced_status, Repository.imported_key)
        of_organization = rows.where(Repository.organization_id == self.organization_id)
        for row_id, status, synced_status, imported in db.session.execute(of_organization).all():
            action = done.get(row_id)
            if action is None or action.kind == "hide":
                continue
            # Of one that is archived the history is read once, to its end.
            is_last = RepositoryStatus.DISABLED is status is synced_status
            if status is not RepositoryStatus.ACTIVE and not (is_last and (action.kind == "archive" or not imported)):
                continue
            succeeded_at = None if action.kind == "add" else jobs.get(row_id)  # the job may be older than the row
            is_done = since is not None and succeeded_at is not None and succeeded_at >= since
            if row_id not in jobs or (action.values and not is_done) or (is_full and not is_done):
                make_due(SYNC_REPOSITORY, row_id, organization_id=self.organization_id)
        db.session.commit()


@dataclass(frozen=True, slots=True)
class _Listed:
    repositories: Sequence[ListedRepository]
    is_complete: bool
    is_lost: bool
    """True when the integration cannot be listed until a person has changed something."""


def _is_allowed(allowed: Sequence[str] | None, repository: ListedRepository) -> bool:
    return allowed is None or any(matches_project(pattern, repository.name) for pattern in allowed)
