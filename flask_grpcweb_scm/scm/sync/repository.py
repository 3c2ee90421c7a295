"""The sync of a repository: its mirror fetched, and what is new in its history stored."""

from __future__ import annotations

from flask_grpcweb_scm.scm.jobs import Lease

__all__ = ["sync_repository"]


def sync_repository(repository_id: int, lease: Lease) -> None:
    """Fetch the mirror of a repository, and import its history."""
    raise NotImplementedError
