"""Deliveries of webhooks, as GitHub and GitLab send them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import Flask

__all__ = ["GITHUB_SECRET", "GITLAB_SECRET", "SIGNING_TOKEN", "Delivery", "github", "gitlab", "post"]

GITHUB_SECRET = "0f4c2e7d9ab1865330d1c7e25bb84ff6"
GITLAB_SECRET = "7be1f0a94c3d25866fd02ac4591e77b3"
SIGNING_TOKEN = "whsec_" + base64.b64encode(bytes(range(7, 39))).decode()


@dataclass
class Delivery:
    """A request."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def github(
    event: str, payload: dict[str, Any], *, secret: str = GITHUB_SECRET, delivery: str = "", form: bool = False
) -> Delivery:
    """https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers"""
    text = json.dumps(payload)
    body = (urlencode({"payload": text}) if form else text).encode()
    return Delivery(
        body,
        {
            "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        },
    )


def gitlab(
    event: str,
    payload: dict[str, Any],
    *,
    token: str | None = GITLAB_SECRET,
    signing_token: str = "",
    delivery: str = "",
    when: float | None = None,
) -> Delivery:
    """https://docs.gitlab.com/user/project/integrations/webhooks/#delivery-headers, …/#signing-tokens"""
    body, key = json.dumps(payload).encode(), delivery or str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/19.0.0",
        "X-Gitlab-Event": event,
        "X-Gitlab-Event-UUID": str(uuid.uuid4()),
        "Idempotency-Key": key,
    }
    if token is not None:
        headers["X-Gitlab-Token"] = token
    if signing_token:
        timestamp = str(int(time.time() if when is None else when))
        secret = base64.b64decode(signing_token.removeprefix("whsec_"))
        signed = f"{key}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        headers |= {"webhook-id": key, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}
    return Delivery(body, headers)


def post(app: Flask, delivery: Delivery, name: str = "main", **changed: str | None) -> tuple[int, str]:
    """The status and the word that a delivery is responded to with.

    :param changed: headers, with underscores; None for one that is left out.
    """
    headers = {**delivery.headers, **{key.replace("_", "-"): value for key, value in changed.items()}}
    sent = {key: value for key, value in headers.items() if value is not None}
    path = f"{app.extensions['grpcweb_scm'].settings.url_prefix}/scm/webhooks/{name}"
    response = app.test_client().post(path, data=delivery.body, headers=sent)
    assert response.content_type == "application/json"
    (word,) = response.get_json().values()
    return response.status_code, word
