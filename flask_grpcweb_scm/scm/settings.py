"""The current app of the SCM service: its settings, and values that it keeps between calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from flask import current_app

__all__ = ["ScmSettings", "current_settings", "kept_in_app"]

Value = TypeVar("Value")


class ScmSettings(Protocol):
    """Configuration keys without their prefix ``GRPC_``, in lower case."""

    @property
    def page_size(self) -> int:
        """Default number of rows of a page."""

    @property
    def max_page_size(self) -> int:
        """Maximum number of rows of a page."""

    @property
    def page_token_secrets(self) -> tuple[str, ...]:
        """Newest first, and at least one."""

    @property
    def page_token_max_age(self) -> float:
        """Maximum age of a page token in seconds."""

    @property
    def git_timeout(self) -> float:
        """Maximum seconds for git in one call."""

    @property
    def git_memory_bytes(self) -> int | None:
        """Memory that one run of git may use; None for any."""

    @property
    def tracker_timeout(self) -> float:
        """Maximum seconds for requests to providers in one call."""

    @property
    def scm_credentials(self) -> Mapping[str, Mapping[str, str]]:
        """By name: ``token``, ``user`` and ``password``, or ``app_id`` and ``private_key``, as they are configured."""

    @property
    def scm_webhooks(self) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """Secrets by the names of webhooks, each as it is configured: ``secret``, or the place where it is."""

    @property
    def scm_allowed_hosts(self) -> frozenset[str]:
        """Hosts that may have private addresses and no TLS, in lower case."""

    @property
    def scm_proxy(self) -> str:
        """URL of the proxy for requests to providers; empty for none."""

    @property
    def scm_no_proxy(self) -> frozenset[str]:
        """Hosts that are called without it, in lower case."""

    @property
    def scm_mirrors(self) -> str | None:
        """Absolute path of the folder of the service's own mirrors; None for none."""

    @property
    def scm_mirror_bytes(self) -> int | None:
        """Bytes that one of them may have; None for any number."""

    @property
    def scm_fetch_timeout(self) -> float:
        """Maximum seconds for one fetch."""

    @property
    def scm_sync_interval(self) -> float:
        """Seconds from one sync to the next."""

    @property
    def scm_issue_interval(self) -> float:
        """Seconds from one reading of an issue at its tracker to the next."""

    @property
    def scm_job_lease(self) -> float:
        """Seconds that a job stays claimed by a worker that is silent."""

    @property
    def blame_cache_bytes(self) -> int:
        """Memory for blamed lines, in each process."""

    @property
    def tree_cache_bytes(self) -> int:
        """Memory for the names of files of repositories, in each process."""


def current_settings() -> ScmSettings:
    """Return the settings of the current app."""
    settings: ScmSettings = current_app.extensions["grpcweb_scm"].settings
    return settings


def kept_in_app(name: str, make: Callable[[], Value]) -> Value:
    """Return what the current app keeps under a name, made at the first use in each of its processes."""
    extensions, name = current_app.extensions, f"grpcweb_scm.{name}"
    # Not the one made last: two threads may come first.
    kept: Value = extensions[name] if name in extensions else extensions.setdefault(name, make())
    return kept
