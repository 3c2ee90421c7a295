"""The settings that the SCM service reads, from whichever extension registered it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from flask import current_app

__all__ = ["ScmSettings", "current_settings"]


class ScmSettings(Protocol):
    """Some of the ``GRPC_*`` configuration keys, in lower case and without their prefix."""

    @property
    def page_size(self) -> int:
        """Rows of a page when the request does not say."""

    @property
    def max_page_size(self) -> int:
        """Most rows of a page."""

    @property
    def page_token_secrets(self) -> tuple[str, ...]:
        """Newest first, and at least one."""

    @property
    def page_token_max_age(self) -> float:
        """In seconds."""

    @property
    def git_timeout(self) -> float:
        """Seconds that git may take for one call."""

    @property
    def tracker_timeout(self) -> float:
        """Seconds that trackers may take for one call."""

    @property
    def scm_credentials(self) -> Mapping[str, Mapping[str, str]]:
        """By name: ``token``, or ``user`` and ``password``."""

    @property
    def scm_allowed_hosts(self) -> frozenset[str]:
        """Hosts that may have private addresses, in lower case."""

    @property
    def blame_cache_bytes(self) -> int:
        """Memory for lines and who changed them, per process."""

    @property
    def tree_cache_bytes(self) -> int:
        """Memory for the names of files of repositories, per process."""


def current_settings() -> ScmSettings:
    """The settings of the current app."""
    settings: ScmSettings = current_app.extensions["grpcweb_scm"].settings
    return settings
