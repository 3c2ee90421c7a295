"""Credentials for providers: values in the configuration, by name; in the database the names alone."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flask_grpcweb_scm.scm.providers.errors import ProviderMisconfigured

__all__ = ["Credential", "basic", "find_credential", "is_configured"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A token, or a user and a password."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def authorization(self) -> str:
        """Make the ``Authorization`` header: ``Bearer`` for a token, ``Basic`` for a user."""
        return f"Bearer {self.token}" if self.token else basic(self.user, self.password)

    def redact(self, text: str) -> str:
        """Replace the secret in a text, should a provider repeat it, also in its encoded version."""
        for secret in (self.authorization().partition(" ")[2], basic("", self.token)[6:], self.token, self.password):
            text = text.replace(secret, "…") if secret else text
        return text


def basic(user: str, password: str) -> str:
    """Make the ``Authorization`` header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def is_configured(metadata: Collection[str]) -> bool:
    """Tell whether the metadata of an integration has settings for a provider: ``base_url`` or ``credentials``."""
    return "base_url" in metadata or "credentials" in metadata


def find_credential(name: object, configured: Mapping[str, Mapping[str, str]], *, provider: str) -> Credential:
    """Return the credential with a name.

    :param configured: ``GRPC_SCM_CREDENTIALS``.
    :raises ProviderMisconfigured: when there is none.
    """
    if not isinstance(name, str) or not name:
        raise ProviderMisconfigured(
            "the integration names no credentials; set them with flask scm add-integration … --credentials NAME",
            provider=provider,
        )
    if name not in configured:
        raise ProviderMisconfigured(f"GRPC_SCM_CREDENTIALS has no credentials named {name!r}", provider=provider)
    return Credential(**configured[name])
