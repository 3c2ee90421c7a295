"""Credentials for trackers, which the configuration has by name; the database has the names alone."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask_grpcweb_scm.scm.providers.errors import TrackerMisconfigured

__all__ = ["Credential", "find_credential"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A token, or a user and a password."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def authorization(self) -> str:
        """The ``Authorization`` header: ``Bearer`` for a token, ``Basic`` for a user."""
        return f"Bearer {self.token}" if self.token else basic(self.user, self.password)

    def redact(self, text: str) -> str:
        """A text without the secret, should a tracker repeat it, also as it was sent."""
        for secret in (self.authorization().partition(" ")[2], basic("", self.token)[6:], self.token, self.password):
            text = text.replace(secret, "…") if secret else text
        return text


def basic(user: str, password: str) -> str:
    """The ``Authorization`` header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def find_credential(name: object, configured: Mapping[str, Mapping[str, str]], *, tracker: str) -> Credential:
    """The credential of a name.

    :param configured: ``GRPC_SCM_CREDENTIALS``.
    :raises TrackerMisconfigured: when there is none.
    """
    if not isinstance(name, str) or not name:
        raise TrackerMisconfigured(
            "the integration names no credentials; set them with flask scm add-integration … --credentials NAME",
            tracker=tracker,
        )
    if name not in configured:
        raise TrackerMisconfigured(f"GRPC_SCM_CREDENTIALS has no credentials named {name!r}", tracker=tracker)
    return Credential(**configured[name])
