"""The part of the client that is about external issues: those of trackers, and local ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from flask_grpcweb_scm.client.lists import Page, every_record
from flask_grpcweb_scm.client.records import ExternalIssue, FoundExternalIssue, TrackerField, new_message
from flask_grpcweb_scm.client.scm_stub import ScmStub
from flask_grpcweb_scm.pb import scm_pb2

__all__ = ["ScmIssues"]


class ScmIssues:
    """Methods of :class:`ScmGrpcClient`."""

    stub: ScmStub
    """The same methods with messages, timeouts and metadata."""

    def create_external_issue(
        self,
        *,
        organization_id: int,
        integration_id: int,
        title: str,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> ExternalIssue:
        """Open an issue at an integration's tracker.

        :param metadata: further fields that the tracker requires.
        :param idempotency_key: one for each issue; a call that has one may be retried.
        """
        request = new_message(
            scm_pb2.CreateExternalIssueRequest,
            organization_id=organization_id,
            integration_id=integration_id,
            title=title,
            description=description,
            metadata=metadata,
        )
        key = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
        return ExternalIssue.from_message(self.stub.create_external_issue(request, metadata=key))

    def link_external_issue(
        self, *, group_id: int, external_issue_id: int = 0, integration_id: int = 0, external_key: str = ""
    ) -> ExternalIssue:
        """Attach an external issue to an error group.

        :param external_issue_id: of an issue that is known; else `integration_id` and `external_key` name one.
        :param external_key: the tracker's name for the issue, such as ``owner/repo#7``, or the address of its page.
        """
        request = new_message(
            scm_pb2.LinkExternalIssueRequest,
            group_id=group_id,
            external_issue_id=external_issue_id,
            integration_id=integration_id,
            external_key=external_key,
        )
        return ExternalIssue.from_message(self.stub.link_external_issue(request))

    def describe_tracker_fields(
        self, *, organization_id: int, integration_id: int, metadata: Mapping[str, str] | None = None
    ) -> list[TrackerField]:
        """The fields that issues may have at an integration's tracker, required ones first.

        :param metadata: which project, and which type of issue.
        """
        request = new_message(
            scm_pb2.DescribeTrackerFieldsRequest,
            organization_id=organization_id,
            integration_id=integration_id,
            metadata=metadata,
        )
        return [*map(TrackerField.from_message, self.stub.describe_tracker_fields(request).fields)]

    def search_external_issues(
        self, *, organization_id: int, integration_id: int, query: str, metadata: Mapping[str, str] | None = None
    ) -> list[FoundExternalIssue]:
        """Issues at an integration's tracker that have a text, at most 20.

        :param metadata: which project.
        """
        request = new_message(
            scm_pb2.SearchExternalIssuesRequest,
            organization_id=organization_id,
            integration_id=integration_id,
            query=query,
            metadata=metadata,
        )
        return [*map(FoundExternalIssue.from_message, self.stub.search_external_issues(request).issues)]

    def unlink_external_issue(self, *, group_id: int, external_issue_id: int) -> None:
        """Detach an external issue from an error group; the issue stays."""
        self.stub.unlink_external_issue(
            new_message(scm_pb2.UnlinkExternalIssueRequest, group_id=group_id, external_issue_id=external_issue_id)
        )

    def list_external_issues(
        self, *, organization_id: int, group_id: int = 0, page_size: int = 0, page_token: str = ""
    ) -> Page[ExternalIssue]:
        """One page of an organization's external issues, oldest first.

        :param group_id: only those linked to this error group; 0 for all.
        """
        request = new_message(
            scm_pb2.ListExternalIssuesRequest,
            organization_id=organization_id,
            group_id=group_id,
            page_size=page_size,
            page_token=page_token,
        )
        response = self.stub.list_external_issues(request)
        return Page(map(ExternalIssue.from_message, response.issues), response.next_page_token)

    def iter_external_issues(
        self, *, organization_id: int, group_id: int = 0, page_size: int = 0
    ) -> Iterator[ExternalIssue]:
        """All of an organization's external issues, oldest first; pages are fetched as they are needed."""
        return every_record(
            functools.partial(
                self.list_external_issues, organization_id=organization_id, group_id=group_id, page_size=page_size
            )
        )
