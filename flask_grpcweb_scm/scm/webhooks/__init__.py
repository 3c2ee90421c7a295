"""Webhooks: providers say what has changed, and the work that follows is due at once.

A delivery makes due, and jobs decide: of its body counts which repository it is about, and that among those of the
integrations that the webhook is of. It calls no provider and no git, so that it is over in milliseconds. One that gets
lost is made up for by the next sync.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flask_grpcweb_scm.rpc import CallContext, Incidents, RpcError, StatusCode, printable
from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import WebhookDelivery
from flask_grpcweb_scm.scm.jobs import make_due
from flask_grpcweb_scm.scm.jobs.issues import issue_changed
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured, read_secret
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.webhooks.deliveries import (
    ISSUE,
    PING,
    SIGNING_TOKEN,
    Event,
    MalformedDelivery,
    Vendor,
    signing_key,
    vendor_of,
)
from flask_grpcweb_scm.scm.webhooks.work import changed_issues, providers_named, works_of
from flask_grpcweb_scm.transactions import transaction

__all__ = ["findings", "receive"]

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 8.0
"""For the database. GitHub waits for ten seconds, GitLab as well."""
TOO_MANY = "the database writes one delivery at a time, and too many wait"
KEPT_DELIVERIES = 100_000
PRUNE_EVERY = 100
"""Deliveries from one deletion of the oldest ones to the next."""
_DELIVERY_ID = re.compile(r"[\x21-\x7e]{1,200}")


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
        with _in_line():
            word: str = transaction(
                None, CallContext(timeout=TIMEOUT_SECONDS), lambda *_: _store(name, vendor, event, delivery_id)
            )
    except RpcError as error:
        return 503, error.message
    logger.debug("webhook %s: %s", name, word)
    return 200, word


@contextlib.contextmanager
def _in_line() -> Iterator[None]:
    """Have deliveries wait for each other where only one at a time can write: SQLite waits by longer and longer pauses.

    :raises RpcError: UNAVAILABLE.
    """
    if db.engine.dialect.name != "sqlite":
        yield
        return
    line = kept_in_app("webhooks.line", threading.Lock)
    if not line.acquire(timeout=TIMEOUT_SECONDS):
        raise RpcError(StatusCode.UNAVAILABLE, TOO_MANY)
    try:
        yield
    finally:
        line.release()


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
    if event.kind == ISSUE:
        return _store_issue(name, vendor, event, delivery_id)
    works = works_of(name, vendor.providers, event)
    if not works:
        return "ignored"
    if delivery_id and not _is_new(name, delivery_id):
        return "duplicate"
    for work in works:
        if not work.is_due:
            make_due(work.kind, work.subject_id, organization_id=work.organization_id, after=work.after)
    return "accepted"


def _store_issue(name: str, vendor: Vendor, event: Event, delivery_id: str) -> str:
    """Have an issue read again where it is known."""
    changed = changed_issues(name, vendor.providers, event)
    if changed and delivery_id and not _is_new(name, delivery_id):
        return "duplicate"
    if not sum([issue_changed(*each) for each in changed]):
        # Of issues that nobody knows here nothing is kept.
        db.session.rollback()
        return "ignored"
    return "accepted"


def _is_new(name: str, delivery_id: str) -> bool:
    if _DELIVERY_ID.fullmatch(delivery_id) is None:
        delivery_id = hashlib.sha256(delivery_id.encode("utf-8", "replace")).hexdigest()
    values = {"webhook": name, "delivery_id": delivery_id}
    number: int | None = db.session.scalars(_insert(db.engine.dialect.name), values).one_or_none()
    if number is not None and number % PRUNE_EVERY == 0:
        db.session.execute(sa.delete(WebhookDelivery).where(WebhookDelivery.id <= number - KEPT_DELIVERIES))
    return number is not None


@functools.cache
def _insert(dialect: str) -> sa.Executable:
    table = WebhookDelivery.__table__
    assert isinstance(table, sa.Table)
    return insert_new(table, "uq_scm_webhook_delivery_id").returning(table.c.id)


# Advice


def findings() -> Iterator[str]:
    """Yield advice on the webhooks of the current app, a line each."""
    settings = current_settings()
    if settings.scm_webhooks and settings.scm_mirrors is None:
        yield "GRPC_SCM_WEBHOOKS is set, and GRPC_SCM_MIRRORS is not: a push has no mirror to be fetched to."
    for name, configured in settings.scm_webhooks.items():
        secrets, problems = _read_secrets(name, configured)
        for problem in problems:
            yield f"{problem[:1].upper()}{problem[1:]}."
        if any(secret.startswith(SIGNING_TOKEN) and not signing_key(secret) for secret in secrets):
            yield (
                f"GRPC_SCM_WEBHOOKS has {name!r}, whose signing token is not as GitLab shows it, {SIGNING_TOKEN} and"
                " base64: its deliveries are refused."
            )
        is_app = "app_id" in settings.scm_credentials.get(name, {})
        try:
            providers = providers_named(name)
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
