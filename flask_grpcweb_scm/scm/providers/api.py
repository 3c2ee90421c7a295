"""An account at a provider, which trackers and sources have in common, and that of an integration."""

from __future__ import annotations

import abc
import contextlib
import functools
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, TypedDict
from urllib.parse import quote, urlsplit

from flask_grpcweb_scm.scm.providers import Credential, GitHubApp, ProviderError, ProviderMisconfigured, find_credential
from flask_grpcweb_scm.scm.providers.reply import Complaint
from flask_grpcweb_scm.scm.settings import current_settings

__all__ = ["Account", "ProviderApi", "account_of", "path_of"]

logger = logging.getLogger(__name__)


class ProviderApi(abc.ABC):
    """An account at a provider, for the length of one RPC.

    :param base_url: address of the host for people; empty for the default of the kind, if there is one.
    :param allowed_hosts: see :class:`HttpClient`.
    :param deadline: an instant of :func:`time.monotonic`, for all requests together.
    :param proxy: URL of a proxy; empty for none.
    :raises ProviderMisconfigured: when the base URL cannot be used.
    """

    kind: ClassVar[str]
    """Kind of host, for messages."""
    base_url: ClassVar[str] = ""
    """The default."""
    max_body_bytes: ClassVar[int] = 8 * 2**20
    app_api: ClassVar[str | None] = None
    """Path of the REST API that makes tokens of GitHub Apps, below the base URL; None where there are no such apps."""

    def __init__(
        self,
        base_url: str,
        credential: Credential,
        *,
        deadline: float,
        allowed_hosts: Collection[str] = (),
        proxy: str = "",
    ) -> None:
        # Here, because importing urllib3 is slow.
        from flask_grpcweb_scm.scm.providers.http import HttpClient

        self.site = (base_url or self.base_url).rstrip("/")
        self.credential = credential
        is_app = isinstance(credential, GitHubApp)
        connect = functools.partial(
            HttpClient,
            provider=self.kind,
            headers=self.headers(),
            allowed_hosts=allowed_hosts,
            proxy=proxy,
            deadline=deadline,
            explain=self.explain,
            error_kind=self.error_kind,
            max_body_bytes=self.max_body_bytes,
        )
        api = self.api_url(self.site)
        authorization = "" if is_app else self.authorization(credential)
        self.http = connect(api, authorization=authorization, credential=credential)
        if isinstance(credential, GitHubApp):
            if self.app_api is None:
                raise self.error(ProviderMisconfigured, f"{self.kind} has no GitHub Apps; name other credentials")
            from flask_grpcweb_scm.scm.providers.github_app import InstallationTokens

            self.http.tokens = InstallationTokens(
                credential,
                lambda signed: connect(f"{api}{self.app_api}", authorization=signed.authorization(), credential=signed),
                self.site,
            )

    @classmethod
    def api_url(cls, site: str) -> str:
        """Return the base URL of the API."""
        return site

    def headers(self) -> Mapping[str, str]:
        """Return additional headers of every request."""
        return {}

    @classmethod
    def authorization(cls, credential: Credential) -> str:
        """Return the ``Authorization`` header."""
        return credential.authorization()

    @classmethod
    @abc.abstractmethod
    def explain(cls, error: Any) -> Complaint:
        """Read the JSON of an error, with our names for fields.

        :raises TypeError, AttributeError, LookupError: when this provider does not send such JSON.
        """

    @classmethod
    def error_kind(cls, error: Any) -> type[ProviderError] | None:
        """Return the class of an error whose JSON says more than its HTTP status, as that of GraphQL; None for others.

        :raises TypeError, AttributeError, LookupError: as :meth:`explain`.
        """
        return None

    def current_credential(self) -> Credential:
        """Return what the account is used with now: of a GitHub App, a token of its installation.

        :raises ProviderError: when there is none.
        """
        return self.credential if self.http.tokens is None else self.http.tokens.current()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Translate the errors of reading a response, which may have any content.

        :raises ProviderUnavailable: for an unexpected response.
        """
        try:
            yield
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
            logger.debug("%s: unexpected response", self.kind, exc_info=True)
            raise self.http.unexpected() from error

    def error(self, kind: type[ProviderError], text: str, **evidence: Any) -> ProviderError:
        """Make an error of this provider."""
        return kind(text, provider=self.kind, **evidence)


def path_of(*segments: str | int) -> str:
    """Join the segments of a path, percent-encoded: none can become two, or climb.

    :raises ValueError: for a segment that is empty, ``.`` or ``..``.
    """
    if {"", ".", ".."} & set(map(str, segments)):
        raise ValueError(f"no path is made of {segments!r}")
    return "".join("/" + quote(str(segment), safe="") for segment in segments)


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
