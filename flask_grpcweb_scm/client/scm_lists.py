"""The part of the client that an error tracker keeps itself up to date with: projects, groups, commits."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime, timezone

from flask_grpcweb_scm.client.lists import Page, every_record
from flask_grpcweb_scm.client.records import Commit, Group, Integration, Project, new_message
from flask_grpcweb_scm.client.scm_stub import ScmStub
from flask_grpcweb_scm.pb import scm_pb2

__all__ = ["ScmLists"]


class ScmLists:
    """Methods of :class:`ScmGrpcClient`."""

    stub: ScmStub
    """The same methods with messages, timeouts and metadata."""

    def list_projects(self, *, organization_id: int, page_size: int = 0, page_token: str = "") -> Page[Project]:
        """One page of an organization's projects, by slug."""
        request = new_message(
            scm_pb2.ListProjectsRequest, organization_id=organization_id, page_size=page_size, page_token=page_token
        )
        response = self.stub.list_projects(request)
        return Page(map(Project.from_message, response.projects), response.next_page_token)

    def iter_projects(self, *, organization_id: int, page_size: int = 0) -> Iterator[Project]:
        """All of an organization's projects, by slug; pages are fetched as they are needed."""
        return every_record(functools.partial(self.list_projects, organization_id=organization_id, page_size=page_size))

    def list_integrations(self, *, organization_id: int, page_size: int = 0, page_token: str = "") -> Page[Integration]:
        """One page of the integrations that are installed in an organization, the oldest first."""
        request = new_message(
            scm_pb2.ListIntegrationsRequest, organization_id=organization_id, page_size=page_size, page_token=page_token
        )
        response = self.stub.list_integrations(request)
        return Page(map(Integration.from_message, response.integrations), response.next_page_token)

    def iter_integrations(self, *, organization_id: int, page_size: int = 0) -> Iterator[Integration]:
        """All integrations that are installed in an organization; pages are fetched as they are needed."""
        return every_record(
            functools.partial(self.list_integrations, organization_id=organization_id, page_size=page_size)
        )

    def upsert_group(
        self,
        *,
        organization_id: int,
        project_id: int,
        short_id: int,
        title: str = "",
        first_seen: datetime | None = None,
    ) -> Group:
        """Add an error group to a project, or change the one with its number.

        :param title: empty leaves it as it is.
        :param first_seen: aware; None leaves it as it is; of a new group, now.
        :raises ValueError: when `first_seen` has no time zone.
        """
        request = new_message(
            scm_pb2.UpsertGroupRequest,
            organization_id=organization_id,
            project_id=project_id,
            short_id=short_id,
            title=title,
        )
        if first_seen is not None:
            request.first_seen.FromDatetime(_aware("first_seen", first_seen))
        return Group.from_message(self.stub.upsert_group(request))

    def sync_repository(self, *, repository_id: int) -> datetime | None:
        """Have a repository synced soon; return when it was last, if ever."""
        response = self.stub.sync_repository(new_message(scm_pb2.SyncRepositoryRequest, repository_id=repository_id))
        return response.synced_at.ToDatetime(tzinfo=timezone.utc) if response.HasField("synced_at") else None

    def list_commits(
        self,
        *,
        repository_id: int,
        branch: str = "",
        path: str = "",
        author: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Page[Commit]:
        """One page of a repository's commits, the newest first.

        :param branch: of the server's mirror; empty for all commits that are recorded.
        :param path: of a file that they have changed.
        :param author: an address or a name.
        :param since: aware, and inclusive.
        :param until: aware, and exclusive.
        :raises ValueError: when one of them has no time zone.
        """
        request = new_message(
            scm_pb2.ListCommitsRequest,
            repository_id=repository_id,
            branch=branch,
            path=path,
            author=author,
            page_size=page_size,
            page_token=page_token,
        )
        if since is not None:
            request.since.FromDatetime(_aware("since", since))
        if until is not None:
            request.until.FromDatetime(_aware("until", until))
        response = self.stub.list_commits(request)
        return Page(map(Commit.from_message, response.commits), response.next_page_token)

    def iter_commits(
        self,
        *,
        repository_id: int,
        branch: str = "",
        path: str = "",
        author: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 0,
    ) -> Iterator[Commit]:
        """All commits of :meth:`list_commits`; pages are fetched as they are needed."""
        return every_record(
            functools.partial(
                self.list_commits,
                repository_id=repository_id,
                branch=branch,
                path=path,
                author=author,
                since=since,
                until=until,
                page_size=page_size,
            )
        )


def _aware(name: str, instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{name} needs a time zone, got {instant!r}")
    return instant
