"""Errors of providers, which carry their evidence."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "CredentialRefused",
    "ProviderConflict",
    "ProviderError",
    "ProviderForbidden",
    "ProviderMisconfigured",
    "ProviderNotFound",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
]


class ProviderError(Exception):
    """Raised when a request to a provider fails.

    The text may go to callers: it has the provider's own message at most, and no credential.

    :param provider: kind of host, such as ``github``.
    :param status: HTTP status of the response; None without a response.
    :param retry_after: seconds to wait before the next request; None when the provider did not say.
    :param fields: violations by field, as the provider reports them.
    :param may_have_acted: whether the provider may have carried out the request all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        retry_after: float | None = None,
        fields: Mapping[str, str] | None = None,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status = status
        self.retry_after = retry_after
        self.fields: Mapping[str, str] = fields or {}
        self.may_have_acted = may_have_acted

    def add(self, text: str) -> None:
        """Append to the message."""
        self.args = (f"{self}; {text}",)


class ProviderMisconfigured(ProviderError):
    """The settings of an integration cannot work: its URL, its credentials, or its kind of tracker."""


class CredentialRefused(ProviderMisconfigured):
    """The provider does not accept the integration's credentials."""


class ProviderForbidden(ProviderError):
    """The integration's credentials do not allow this."""


class ProviderNotFound(ProviderError):
    """The resource does not exist, or the integration's credentials do not reach it."""


class ProviderConflict(ProviderError):
    """A concurrent change got in the way."""


class ProviderRejected(ProviderError):
    """The provider found the request invalid; see :attr:`ProviderError.fields`."""


class ProviderRateLimited(ProviderError):
    """The provider's rate limit is exhausted; see :attr:`ProviderError.retry_after`."""


class ProviderUnavailable(ProviderError):
    """The provider is unreachable, failed, or sent an unexpected response."""


class ProviderTimeout(ProviderError):
    """The deadline passed before the response was complete."""
