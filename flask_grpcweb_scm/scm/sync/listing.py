"""Listings: the repositories that an integration can see at its provider, page by page.

https://docs.github.com/en/rest/repos/repos, apps/installations; https://docs.gitlab.com/api/projects/, groups/
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from flask_grpcweb_scm.scm.providers import GitHubApp, ProviderNotFound
from flask_grpcweb_scm.scm.providers.api import ProviderApi, path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.sources.source import clean, next_page
from flask_grpcweb_scm.scm.sync.plan import ListedRepository
from flask_grpcweb_scm.scm.trackers.github import GitHub, GitHubEnterprise
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab

__all__ = ["LISTINGS", "PAGE_SIZE", "Listing", "Page", "Place"]

PAGE_SIZE = 100
"""The most that GitHub and GitLab have on one."""


class Place(NamedTuple):
    """A list of repositories at a provider."""

    path: str
    query: Mapping[str, str]
    cursor: str
    """The parameter that names a page."""


class Page(NamedTuple):
    """Some repositories."""

    repositories: list[ListedRepository]
    next: str
    """The cursor of the next page; empty after the last one."""
    etag: str
    """Of this page, to say later that it is known; empty for none."""
    total: int | None = None
    """Number of repositories on all pages, if the provider says it."""


class Listing(ProviderApi):
    """The repositories that an account can see."""

    @abc.abstractmethod
    def place(self, owner: str) -> Place:
        """Return where the repositories of a user, organization or group are listed.

        :param owner: empty for all that the credentials reach.
        """

    @abc.abstractmethod
    def repository(self, row: Mapping[str, Any]) -> ListedRepository:
        """Read a repository of a page."""

    def rows(self, reply: HttpReply) -> tuple[list[Any], int | None]:
        """Return the repositories of a page, and the number of all of them, if it is there."""
        return reply.value(kind=list), None

    def page(self, place: Place, cursor: str, etag: str = "") -> Page | None:
        """Return a page; None when it is still what its validator was for.

        :param cursor: empty for the first page.
        """
        query: dict[str, str | int] = {**place.query, "per_page": PAGE_SIZE}
        if cursor:
            query[place.cursor] = cursor
        reply = self.http.get(place.path, query=query, etag=etag)
        if reply.status == 304:
            return None
        rows, total = self.rows(reply)
        with self.reading():
            following = next_page(reply, place.cursor)
            repositories = [self.repository(row) for row in rows]
        # Without a next page, a full one would be the same when one begins after it.
        is_whole = bool(following) or len(repositories) < PAGE_SIZE
        return Page(repositories, following, reply.headers.get("etag", "") if is_whole else "", total)


class GitHubListing(Listing):
    """Repositories at GitHub: of the installation of an app, or of a token."""

    kind = "github"
    base_url = GitHub.base_url
    app_api: ClassVar = ""

    def place(self, owner: str) -> Place:
        """Find out what the owner is: organizations, users and oneself are listed in different places."""
        if isinstance(self.credential, GitHubApp):
            return Place("/installation/repositories", {}, "page")
        oldest_first = {"sort": "created", "direction": "asc"}
        if not owner:
            return Place("/user/repos", oldest_first, "page")
        with self.reading():
            path = path_of("users", owner)
        if self.http.get(path).value("type", kind=str) == "Organization":
            return Place(path_of("orgs", owner, "repos"), {"type": "all", **oldest_first}, "page")
        if self.http.get("/user").value("login", kind=str).lower() == owner.lower():
            return Place("/user/repos", {"affiliation": "owner", **oldest_first}, "page")
        return Place(f"{path}/repos", {"type": "owner", **oldest_first}, "page")

    def rows(self, reply: HttpReply) -> tuple[list[Any], int | None]:
        """Read a list, or in an installation ``{"total_count": …, "repositories": […]}``."""
        if isinstance(self.credential, GitHubApp):
            with self.reading():
                total = reply.json()["total_count"]
                if type(total) is not int:
                    raise ValueError("total_count is no number")
                return reply.value("repositories", kind=list), total
        return super().rows(reply)

    def repository(self, row: Mapping[str, Any]) -> ListedRepository:
        """Read ``minimal-repository`` or ``repository``."""
        return ListedRepository(
            number=_number(row["id"]),
            name=clean(row["full_name"]),
            url=clean(row.get("clone_url") or row["html_url"] + ".git"),
            default_branch=clean(row.get("default_branch")),
            is_archived=_is_true(row, "archived") or _is_true(row, "disabled"),
        )

    def headers(self) -> Mapping[str, str]:
        """Return media type and version of the API."""
        return {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read an error as the tracker of the same host does."""
        return GitHub.explain(error)


class GitHubEnterpriseListing(GitHubListing):
    """GitHub on a host of one's own."""

    kind = "github_enterprise"
    base_url = ""

    @classmethod
    def api_url(cls, site: str) -> str:
        """``https://{host}/api/v3``."""
        return GitHubEnterprise.api_url(site)


class GitLabListing(Listing):
    """Projects at GitLab: of a group with its subgroups, of a user, or those that the token is a member of."""

    kind = "gitlab"
    base_url = GitLab.base_url

    def place(self, owner: str) -> Place:
        """Find out what the owner is: groups and users are listed in different places."""
        oldest_first = {"order_by": "id", "sort": "asc"}
        if not owner:
            # "Keyset-based pagination … is available for … GET /projects"; there it is quick at any depth.
            return Place("/projects", {**oldest_first, "membership": "true", "pagination": "keyset"}, "id_after")
        with self.reading():
            group = path_of("groups", owner)
        try:
            self.http.get(group, query={"with_projects": "false"})
        except ProviderNotFound:
            users = self.http.get("/users", query={"username": owner})
            number = users.value(0, "id", kind=int) if users.value(kind=list) else None
            if number is None:
                raise
            return Place(path_of("users", number, "projects"), oldest_first, "page")
        more = {"include_subgroups": "true", "with_shared": "false"}
        return Place(f"{group}/projects", {**oldest_first, **more}, "page")

    def repository(self, row: Mapping[str, Any]) -> ListedRepository:
        """Read a project."""
        return ListedRepository(
            number=_number(row["id"]),
            name=clean(row["path_with_namespace"]),
            url=clean(row["http_url_to_repo"]),
            default_branch=clean(row.get("default_branch")),
            is_archived=_is_true(row, "archived"),
        )

    @classmethod
    def api_url(cls, site: str) -> str:
        """``https://{host}/api/v4``."""
        return GitLab.api_url(site)

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read an error as the tracker of the same host does."""
        return GitLab.explain(error)


def _number(value: object) -> str:
    """Return a provider's id of a repository as a text.

    :raises ValueError: for what is none.
    """
    if type(value) is not int or not 0 < value < 2**63:
        raise ValueError("not the id of a repository")
    return str(value)


def _is_true(row: Mapping[str, Any], name: str) -> bool:
    """Return a flag of a repository, false where it is not there.

    :raises ValueError: for what is neither true nor false.
    """
    value = row.get(name)
    if value is not None and type(value) is not bool:
        raise ValueError(f"{name} is neither true nor false")
    return bool(value)


LISTINGS: Mapping[str, type[Listing]] = {
    listing.kind: listing for listing in (GitHubListing, GitHubEnterpriseListing, GitLabListing)
}
