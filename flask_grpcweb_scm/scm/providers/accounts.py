"""The account of an integration at its provider: what trackers, sources and the sync open it with."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, TypedDict
from urllib.parse import urlsplit

from flask_grpcweb_scm.scm.providers import Credential, find_credential
from flask_grpcweb_scm.scm.settings import current_settings

__all__ = ["Account", "account_of"]


class Account(TypedDict):
    """Arguments of :class:`ProviderApi`."""

    base_url: str
    credential: Credential
    deadline: float
    allowed_hosts: Collection[str]
    proxy: str


def account_of(provider: str, metadata: Mapping[str, Any], external_id: str, timeout: float | None) -> Account:
    """Return the account of an integration.

    :param metadata: of the integration: ``base_url`` and ``credentials``.
    :param external_id: of the integration.
    :param timeout: seconds for all requests together, at most ``GRPC_TRACKER_TIMEOUT``; None for that.
    :raises ProviderMisconfigured: when there are no such credentials.
    """
    settings, limit = current_settings(), current_settings().tracker_timeout
    base_url = metadata.get("base_url", "")
    is_direct = _host(base_url) in settings.scm_no_proxy
    return Account(
        base_url=base_url,
        credential=find_credential(
            metadata.get("credentials"), settings.scm_credentials, provider=provider, account=external_id
        ),
        deadline=time.monotonic() + (limit if timeout is None else min(timeout, limit)),
        allowed_hosts=settings.scm_allowed_hosts,
        proxy="" if is_direct else settings.scm_proxy,
    )


def _host(url: object) -> str:
    try:
        return (urlsplit(url).hostname or "") if isinstance(url, str) else ""
    except ValueError:
        return ""
