"""Deliveries of webhooks: the proof of who has sent one, and the event in it. Pure: headers and a body make an event.

https://docs.github.com/en/webhooks; https://docs.gitlab.com/user/project/integrations/webhooks/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

__all__ = [
    "ISSUE",
    "PING",
    "PUSH",
    "REPOSITORIES",
    "SIGNING_TOKEN",
    "Event",
    "MalformedDelivery",
    "Vendor",
    "signing_key",
    "vendor_of",
]

PING = "ping"
PUSH = "push"
"""To a repository, of any branch or tag."""
REPOSITORIES = "repositories"
"""There are others, with other names, or others see them."""
ISSUE = "issue"

SIGNING_TOKEN = "whsec_"  # noqa: S105  # a prefix of secrets
MAX_CLOCK_SECONDS = 300
"""That the timestamp of a signature may be off: what the libraries of Standard Webhooks allow."""
MAX_NUMBER = 2**63 - 1
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


class MalformedDelivery(ValueError):
    """Raised for a body that is no JSON object, though its sender is who it says."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change at a provider, as far as it decides which work is due."""

    kind: str = ""
    """:data:`PING`, :data:`PUSH`, :data:`REPOSITORIES` or :data:`ISSUE`; empty for one that makes nothing due."""
    repository: str = ""
    """The provider's number of it; empty for none."""
    name: str = ""
    """Its name with its owner, if it is there: for nothing but the border of an installation, and keys of issues."""
    installation: str = ""
    """Number of the installation of a GitHub App; empty without one."""
    issue: str = ""
    """Number of an issue in its repository."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """The way of a kind of host to send webhooks. Names of headers are in lower case."""

    providers: tuple[str, ...]
    """Of the integrations that its webhooks may be about."""
    is_from: Callable[[Mapping[str, str], Collection[str], Callable[[], bytes], float], bool]
    """Compares headers and body with all secrets, each in constant time; reads a body only where it is signed. The last
    argument is the time now, in seconds since 1970."""
    delivery_id: Callable[[Mapping[str, str], bytes], str]
    """Returns what the same delivery has each time that it is sent; empty when there is no telling."""
    event: Callable[[Mapping[str, str], bytes], Event]
    """Reads a delivery, and raises :class:`MalformedDelivery`."""


def vendor_of(headers: Mapping[str, str]) -> Vendor | None:
    """Return the vendor whose proof is among the headers of a request; None without any."""
    if "x-hub-signature-256" in headers:
        return GITHUB
    return GITLAB if {"x-gitlab-token", "webhook-signature"} & headers.keys() else None


# GitHub


def _is_from_github(
    headers: Mapping[str, str], secrets: Collection[str], read_body: Callable[[], bytes], now: float
) -> bool:
    given, body = headers["x-hub-signature-256"].encode("latin-1", "replace"), read_body()
    matches = [
        hmac.compare_digest(given, b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode())
        for secret in secrets
    ]
    return any(matches)


def _github_delivery_id(headers: Mapping[str, str], body: bytes) -> str:
    return headers.get("x-github-delivery", "")


def _github_event(headers: Mapping[str, str], body: bytes) -> Event:
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            # "the JSON payload will be sent as a form parameter called payload"
            body = parse_qs(body.decode("ascii"), max_num_fields=10)["payload"][0].encode()
        except (KeyError, ValueError):
            raise MalformedDelivery("the form has no payload") from None
    payload, name = _json(body), headers.get("x-github-event", "")
    repository = _object(payload, "repository")
    facts = {
        "repository": _number(repository, "id"),
        "name": _text(repository, "full_name"),
        "installation": _number(_object(payload, "installation"), "id"),
    }
    if name in {"issues", "issue_comment"}:
        issue = _object(payload, "issue")
        if name == "issues" and "pull_request" not in issue:
            return Event(ISSUE, issue=_number(issue, "number"), **facts)
        return Event()
    kind = _GITHUB_EVENTS.get(name, "")
    return Event(kind, **facts) if kind else Event()


_GITHUB_EVENTS = {
    "ping": PING,
    "push": PUSH,
    # created, deleted, archived, renamed, transferred, privatized, edited …
    "repository": REPOSITORIES,
    "public": REPOSITORIES,
    # created, deleted, suspend, unsuspend, new_permissions_accepted; and the account of one renamed
    "installation": REPOSITORIES,
    "installation_repositories": REPOSITORIES,
    "installation_target": REPOSITORIES,
}

GITHUB = Vendor(("github", "github_enterprise"), _is_from_github, _github_delivery_id, _github_event)


# GitLab


def _is_from_gitlab(
    headers: Mapping[str, str], secrets: Collection[str], read_body: Callable[[], bytes], now: float
) -> bool:
    """Verify a signature where there is one and a signing token is configured, else the secret token.

    A request with a signature never falls back to the token, which can be read where it has passed.
    """
    keys = [key for key in map(signing_key, secrets) if key]
    if keys and "webhook-signature" in headers:
        return _is_signed(headers, keys, read_body, now)
    given = headers.get("x-gitlab-token", "").encode("latin-1", "replace")
    tokens = [secret.encode() for secret in secrets if not secret.startswith(SIGNING_TOKEN)]
    matches = [hmac.compare_digest(given, token) for token in tokens]
    return any(matches)


def _is_signed(headers: Mapping[str, str], keys: Collection[bytes], read_body: Callable[[], bytes], now: float) -> bool:
    """Verify a signature of Standard Webhooks: HMAC-SHA256 of ``{webhook-id}.{webhook-timestamp}.{body}``."""
    text, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if _TIMESTAMP.fullmatch(timestamp) is None or abs(int(timestamp) - now) > MAX_CLOCK_SECONDS or not text:
        return False
    signed = f"{text}.{timestamp}.".encode("latin-1", "replace") + read_body()
    given = [part.encode("latin-1", "replace") for part in headers["webhook-signature"].split()[:10]]
    expected = [b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
    matches = [hmac.compare_digest(one, other) for one in given for other in expected]
    return any(matches)


def signing_key(secret: str) -> bytes:
    """Return the key of a signing token; empty for any other secret, and for one that is damaged."""
    if not secret.startswith(SIGNING_TOKEN):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(SIGNING_TOKEN), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _gitlab_delivery_id(headers: Mapping[str, str], body: bytes) -> str:
    # The two have the same value, and are the same when a delivery is sent again.
    key = headers.get("webhook-id") or headers.get("idempotency-key", "")
    uuid = headers.get("x-gitlab-event-uuid", "")
    # "Recursive webhooks have the same value for this header."
    return key or (f"{uuid} {hashlib.sha256(body).hexdigest()}" if uuid else "")


def _gitlab_event(headers: Mapping[str, str], body: bytes) -> Event:
    payload = _json(body)
    kind = _text(payload, "object_kind") or _text(payload, "event_name")
    project = _object(payload, "project")
    number = _number(payload, "project_id") or _number(project, "id")
    name = _text(project, "path_with_namespace") or _text(payload, "path_with_namespace")
    if kind in {"push", "tag_push", "repository_update"}:
        return Event(PUSH, number, name)
    if kind in {"issue", "work_item"}:
        return Event(ISSUE, number, name, issue=_number(_object(payload, "object_attributes"), "iid"))
    # project_create, project_destroy, project_rename, project_transfer, project_update, group_rename, subgroup_create …
    is_about_projects = re.fullmatch(r"(?:project|group|subgroup)_[a-z]+", kind) is not None
    return Event(REPOSITORIES, number, name) if is_about_projects else Event()


GITLAB = Vendor(("gitlab",), _is_from_gitlab, _gitlab_delivery_id, _gitlab_event)


# Payloads, which may have anything in them


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedDelivery("the body is not JSON") from None
    if not isinstance(payload, dict):
        raise MalformedDelivery("the JSON is not an object")
    return payload


def _object(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = payload.get(key)
    return value if isinstance(value, dict) else {}


def _number(payload: Mapping[str, Any], key: str) -> str:
    value = payload.get(key)
    return str(value) if type(value) is int and 0 < value <= MAX_NUMBER else ""


def _text(payload: Mapping[str, Any], key: str) -> str:
    value = payload.get(key)
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 1000 else ""
