"""The APIs of providers: errors, which carry their evidence, and credentials.

The HTTP client is not among the names here: importing urllib3 is slow, and only who calls a provider needs it.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Credential",
    "CredentialRefused",
    "GitHubApp",
    "ProviderConflict",
    "ProviderError",
    "ProviderForbidden",
    "ProviderMisconfigured",
    "ProviderNotFound",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
    "Tokens",
    "basic",
    "find_credential",
    "is_configured",
    "read_secret",
]

MAX_SECRET_BYTES = 64 * 2**10


class ProviderError(Exception):
    """Raised when a request to a provider fails.

    The text may go to callers: it has the provider's own message at most, no credential, and no name of a host.

    :param provider: kind of host, such as ``github``.
    :param status: HTTP status of the response; None without a response.
    :param retry_after: seconds to wait before the next request; None when the provider did not say.
    :param fields: violations by field, as the provider reports them.
    :param may_have_acted: whether the provider may have carried out the request all the same.
    :param private: the text for operators, which names hosts; None for the same.
    """

    provider: str
    """Kind of host."""
    status: int | None
    """Of HTTP; None without a response."""
    retry_after: float | None
    """Seconds to wait; None when the provider did not say."""
    fields: Mapping[str, str]
    """Violations by field."""
    may_have_acted: bool
    """The provider may have carried out the request all the same."""
    private: str
    """The text for operators."""

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        retry_after: float | None = None,
        fields: Mapping[str, str] | None = None,
        may_have_acted: bool = False,
        private: str | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status = status
        self.retry_after = retry_after
        self.fields = fields or {}
        self.may_have_acted = may_have_acted
        self.private = private or message

    def add(self, text: str) -> None:
        """Append to the message."""
        self.args = (f"{self}; {text}",)
        self.private = f"{self.private}; {text}"


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


@dataclass(frozen=True, slots=True)
class Credential:
    """A token, or a user and a password."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def authorization(self) -> str:
        """Make the ``Authorization`` header: ``Bearer`` for a token, ``Basic`` for a user."""
        return f"Bearer {self.token}" if self.token else basic(self.user, self.password)

    def is_sendable(self) -> bool:
        """Tell whether a header can have it."""
        texts = (self.user, self.password)
        printable = all(re.search("[\x00-\x1f\x7f\ud800-\udfff]", text) is None for text in texts)
        return printable and re.fullmatch("[\x20-\x7e]*", self.token) is not None

    def redact(self, text: str) -> str:
        """Replace the secret in a text, should a provider repeat it, also in its encoded version."""
        for secret in (self.authorization().partition(" ")[2], basic("", self.token)[6:], self.token, self.password):
            text = text.replace(secret, "…") if secret else text
        return text


@dataclass(frozen=True, slots=True)
class GitHubApp(Credential):
    """A GitHub App, as it is installed in an account: its tokens are made of its key, and are valid for an hour."""

    app_id: str = ""
    private_key: str = field(default="", repr=False)
    """In PEM."""
    installation_id: str = ""


class Tokens(Protocol):
    """Credentials that end, and are renewed."""

    def current(self) -> Credential:
        """Return the one to use."""

    def renewed(self, refused: Credential) -> Credential:
        """Return another one than that which was refused."""


def basic(user: str, password: str) -> str:
    """Make the ``Authorization`` header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def is_configured(metadata: Collection[str]) -> bool:
    """Tell whether the metadata of an integration has settings for a provider: ``base_url`` or ``credentials``."""
    return "base_url" in metadata or "credentials" in metadata


def find_credential(
    name: object, configured: Mapping[str, Mapping[str, str]], *, provider: str, account: str = ""
) -> Credential:
    """Return the credential with a name; secrets in files and variables are read each time, for they may change.

    :param configured: ``GRPC_SCM_CREDENTIALS``.
    :param account: the integration's external id, which is the installation of a GitHub App unless that names one.
    :raises ProviderMisconfigured: when there is none.
    """
    if not isinstance(name, str) or not name:
        raise ProviderMisconfigured(
            "the integration names no credentials; set them with flask scm add-integration … --credentials NAME",
            provider=provider,
        )
    if name not in configured:
        raise ProviderMisconfigured(f"GRPC_SCM_CREDENTIALS has no credentials named {name!r}", provider=provider)
    owner = f"the credentials {name!r} of GRPC_SCM_CREDENTIALS"
    values = dict(read_secret(owner, *item, provider=provider) for item in configured[name].items())
    if "app_id" in values:
        installation_id = values.get("installation_id") or (
            account if account.isascii() and account.isdecimal() else ""
        )
        if not installation_id:
            raise ProviderMisconfigured(
                f"the credentials {name!r} are of a GitHub App, and nothing says which installation of it; add"
                " 'installation_id' to them, or give its number to the integration with --external-id",
                provider=provider,
            )
        return GitHubApp(**{**values, "installation_id": installation_id})
    credential = Credential(**values)
    if not credential.is_sendable():
        # Said here, and without the secret: errors of HTTP repeat the header.
        text = (
            f"the credentials {name!r} of GRPC_SCM_CREDENTIALS have a character that no header has; is it a line break?"
        )
        raise ProviderMisconfigured(text, provider=provider)
    return credential


def read_secret(owner: str, key: str, value: str, *, provider: str) -> tuple[str, str]:
    """Return a key of a configured secret and its value, which may be in a file or in a variable of the environment.

    :param owner: names the place in the configuration, for messages.
    :raises ProviderMisconfigured: when the secret is not there.
    """
    secret, _, place = key.rpartition("_")
    text: str | None = value
    problem = ""
    if place == "env":
        text, problem = os.environ.get(value), f"the variable {value!r} is not set"
    elif place == "file":
        try:
            with open(value, "rb") as file:
                # Editors may have put a byte order mark in front.
                text = file.read(MAX_SECRET_BYTES).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            text, problem = None, f"the file {value!r} cannot be read: {getattr(error, 'strerror', '') or error}"
    else:
        return key, value
    text = "" if text is None else text.rstrip("\r\n")
    if not text:
        told = f"{secret} of {owner} is not there, or is empty"
        raise ProviderMisconfigured(
            told, provider=provider, private=f"{told}: {problem or f'{value!r} has nothing in it'}"
        )
    return secret, text
