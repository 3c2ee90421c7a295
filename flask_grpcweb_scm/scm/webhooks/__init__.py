"""Webhooks: providers say what has changed, and the work that follows is due at once.

A delivery makes due, and jobs decide: of its body counts which repository it is about, and that among those of the
integrations that the webhook is of. It calls no provider and no git, so that it is over in milliseconds. One that gets
lost is made up for by the next sync.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import CallContext, Incidents, RpcError, printable
from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import (
    Integration,
    OrganizationIntegration,
    Repository,
    RepositoryStatus,
    WebhookDelivery,
)
from flask_grpcweb_scm.scm.database.values import provider_name, provider_spellings
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, SYNC_REPOSITORY, make_due
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured, is_configured, read_secret
from flask_grpcweb_scm.scm.remotes import numbered_ids
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.trackers import allowed_projects
from flask_grpcweb_scm.scm.trackers.tracker import matches_project
from flask_grpcweb_scm.scm.webhooks.deliveries import (
    PING,
    PUSH,
    REPOSITORIES,
    Event,
    MalformedDelivery,
    Vendor,
    vendor_of,
)
from flask_grpcweb_scm.transactions import transaction

__all__ = ["findings", "receive"]

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 8.0
"""For the database. GitHub waits for ten seconds, GitLab as well."""
UNKNOWN_SECONDS = 60.0
"""From a push to a repository that is not known here until its organization is listed: at most one listing a minute."""
MAX_INTEGRATIONS = 100
"""That one webhook may be of by their name; those of GitHub Apps are found by the installation."""
KEPT_DELIVERIES = 100_000
PRUNE_EVERY = 100
"""Deliveries from one deletion of the oldest ones to the next."""
_DELIVERY_ID = re.compile(r"[\x21-\x7e]{1,200}")


class Work(NamedTuple):
    """A job to make due; in an order that is the same for all deliveries, so that no two wait for each other."""

    kind: str
    subject_id: int
    organization_id: int
    after: float


def receive(name: str, headers: Mapping[str, str], read_body: Callable[[], bytes]) -> tuple[int, str]:
    """Return an HTTP status for a delivery, and a word that says what has become of it.

    :param name: of the webhook, as its path has it.
    :param headers: with their names in lower case.
    :param read_body: is called once the sender is known, or to know the sender; its errors are raised.
    """
    configured = current_settings().scm_webhooks.get(name)
    if configured is None:
        return 404, "unknown webhook"
    vendor = vendor_of(headers)
    if vendor is None:
        return 401, "not signed"
    body = _Once(read_body)
    secrets, problems = _read_secrets(name, configured)
    if not vendor.is_from(headers, secrets, body, time.time()):
        incidents = kept_in_app("webhooks.incidents", lambda: Incidents(logger))
        if problems:
            incidents.log(f"secret {name}", "webhook %s: %s", name, problems[0])
            return 503, "its secret is not there"
        incidents.log(f"forged {name}", "webhook %s: a delivery with a wrong signature or token is refused", name)
        return 401, "wrong signature"
    try:
        event = vendor.event(headers, body())
    except MalformedDelivery as error:
        return 400, str(error)
    if event.kind == PING:
        return 200, "pong"
    if not event.kind:
        return 200, "ignored"
    delivery_id = vendor.delivery_id(headers, body())
    try:
        word: str = transaction(
            None, CallContext(timeout=TIMEOUT_SECONDS), lambda *_: _store(name, vendor, event, delivery_id)
        )
    except RpcError as error:
        return 503, error.message
    logger.debug("webhook %s: %s", name, word)
    return 200, word


class _Once:
    """Reads a body when it is first needed."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._body: bytes | None = None

    def __call__(self) -> bytes:
        if self._body is None:
            self._body = self._read()
        return self._body


def _read_secrets(name: str, configured: Sequence[Mapping[str, str]]) -> tuple[list[str], list[str]]:
    """Return the secrets that are there, and what is the matter with the others."""
    secrets, problems = [], []
    for each in configured:
        for key, value in each.items():
            try:
                secrets.append(read_secret(f"the webhook {name!r} of GRPC_SCM_WEBHOOKS", key, value, provider="")[1])
            except ProviderMisconfigured as error:
                problems.append(printable(error.private))
    return secrets, problems


def _store(name: str, vendor: Vendor, event: Event, delivery_id: str) -> str:
    """Make due what follows from an event, in the transaction that notes its delivery."""
    works = sorted({work for row in _integrations(name, vendor, event) for work in _works(row, event)})
    if not works:
        return "ignored"
    if delivery_id and not _is_new(name, delivery_id):
        return "duplicate"
    for work in works:
        make_due(work.kind, work.subject_id, organization_id=work.organization_id, after=work.after)
    return "accepted"


def _is_new(name: str, delivery_id: str) -> bool:
    if _DELIVERY_ID.fullmatch(delivery_id) is None:
        delivery_id = hashlib.sha256(delivery_id.encode("utf-8", "replace")).hexdigest()
    values = {"webhook": name, "delivery_id": delivery_id}
    insert = insert_new(WebhookDelivery, "uq_scm_webhook_delivery_id").values(values).returning(WebhookDelivery.id)
    number = db.session.scalars(insert).one_or_none()
    if number is not None and number % PRUNE_EVERY == 0:
        db.session.execute(sa.delete(WebhookDelivery).where(WebhookDelivery.id <= number - KEPT_DELIVERIES))
    return number is not None


# Integrations


def _integrations(name: str, vendor: Vendor, event: Event) -> list[Integration]:
    """Return the integrations of a webhook that an event is about."""
    of_vendor = sa.select(Integration).where(Integration.provider.in_(_spellings(vendor)))
    rows: Sequence[Integration] = []
    if event.installation:
        # A GitHub App has one webhook for all its installations.
        installed = db.session.scalars(of_vendor.where(Integration.external_id == event.installation))
        rows = [row for row in installed if _is_named(row, name)]
    if not rows:
        named = of_vendor.where(_has_name(name)).order_by(Integration.id)
        rows = db.session.scalars(named.limit(MAX_INTEGRATIONS)).all()
    return [row for row in rows if not event.installation or _installation_of(row) in {"", event.installation}]


def _spellings(vendor: Vendor) -> list[str]:
    return [spelling for provider in vendor.providers for spelling in provider_spellings(provider)]


def _has_name(name: str) -> sa.ColumnElement[bool]:
    is_id = re.fullmatch("[0-9]{1,18}", name, re.ASCII) is not None
    return sa.or_(Integration.name == name, *([Integration.id == int(name)] if is_id else []))


def _is_named(row: Integration, name: str) -> bool:
    return name in {row.name, str(row.id), row.metadata_.get("credentials")}


def _installation_of(row: Integration) -> str:
    """Return the installation of a GitHub App that an integration is; empty when it is none."""
    credential = current_settings().scm_credentials.get(str(row.metadata_.get("credentials")), {})
    return credential.get("installation_id", row.external_id) if "app_id" in credential else ""


# Work


def _works(integration: Integration, event: Event) -> Iterator[Work]:
    """Yield what an event makes due in the organizations of an integration."""
    rows = sa.select(OrganizationIntegration).options(joinedload(OrganizationIntegration.integration))
    installations = db.session.scalars(rows.where(OrganizationIntegration.integration_id == integration.id)).all()
    if event.kind == REPOSITORIES and is_configured(integration.metadata_):
        for installation in installations:
            yield Work(SYNC_ORGANIZATION, installation.organization_id, installation.organization_id, 0.0)
    elif event.kind == PUSH and event.repository:
        yield from _works_of_push(integration, installations, event)


def _works_of_push(
    integration: Integration, installations: Sequence[OrganizationIntegration], event: Event
) -> Iterator[Work]:
    provider = provider_name(integration.provider)
    numbers = numbered_ids(host_at_provider(provider, integration), event.repository)
    columns = sa.select(Repository.id, Repository.organization_id, Repository.integration_id, Repository.status)
    known = db.session.execute(
        columns.where(
            Repository.organization_id.in_([row.organization_id for row in installations]),
            Repository.provider.in_(provider_spellings(provider)),
            Repository.external_id.in_(numbers),
        )
    ).all()
    for row in known:
        if row.integration_id == integration.id and row.status is RepositoryStatus.ACTIVE:
            yield Work(SYNC_REPOSITORY, row.id, row.organization_id, 0.0)
    # One that is not seen any more, or not yet. What people have disabled, or another integration has, stays so.
    seen = {row.organization_id for row in known if row.status is not RepositoryStatus.HIDDEN}
    for installation in installations:
        is_unknown = installation.organization_id not in seen and is_configured(integration.metadata_)
        if is_unknown and _is_inside(installation, event.name):
            yield Work(SYNC_ORGANIZATION, installation.organization_id, installation.organization_id, UNKNOWN_SECONDS)


def _is_inside(installation: OrganizationIntegration, name: str) -> bool:
    try:
        allowed = allowed_projects(installation)
    except ProviderMisconfigured:
        return False
    return allowed is None or any(matches_project(pattern, name) for pattern in allowed)


# Advice


def findings() -> Iterator[str]:
    """Yield advice on the webhooks of the current app, a line each."""
    settings = current_settings()
    if settings.scm_webhooks and settings.scm_mirrors is None:
        yield "GRPC_SCM_WEBHOOKS is set, and GRPC_SCM_MIRRORS is not: a push has no mirror to be fetched to."
    for name, configured in settings.scm_webhooks.items():
        for problem in _read_secrets(name, configured)[1]:
            yield f"{problem[:1].upper()}{problem[1:]}."
        is_app = "app_id" in settings.scm_credentials.get(name, {})
        try:
            known = db.session.scalars(sa.select(Integration.provider).where(_has_name(name)).limit(MAX_INTEGRATIONS))
            providers = {provider_name(provider) for provider in known}
        except SQLAlchemyError:  # without tables; other checks say so
            db.session.rollback()
            return
        if not providers and not is_app:
            yield (
                f"GRPC_SCM_WEBHOOKS has {name!r}, and no integration has this name or id: its deliveries are ignored;"
                " flask scm list integrations shows what there is."
            )
        elif not is_app and providers.isdisjoint({"github", "github_enterprise", "gitlab"}):
            yield (
                f"GRPC_SCM_WEBHOOKS has {name!r}, which is of {', '.join(sorted(providers))}: only webhooks of GitHub"
                " and GitLab are understood."
            )
