"""The methods of ScmService for type checkers."""

from __future__ import annotations

from flask_grpcweb_scm.client.channel import Channel, StreamMethod, Stub, UnaryMethod
from flask_grpcweb_scm.pb import scm_pb2

__all__ = ["ScmStub"]


class ScmStub(Stub):
    """The methods of ScmService with messages in and out, for type checkers too."""

    list_repositories: UnaryMethod[scm_pb2.ListRepositoriesRequest, scm_pb2.ListRepositoriesResponse]
    get_repository: UnaryMethod[scm_pb2.GetRepositoryRequest, scm_pb2.Repository]
    get_commit: UnaryMethod[scm_pb2.GetCommitRequest, scm_pb2.Commit]
    get_commit_context: UnaryMethod[scm_pb2.GetCommitContextRequest, scm_pb2.CommitContext]
    create_code_mapping: UnaryMethod[scm_pb2.CreateCodeMappingRequest, scm_pb2.CodeMapping]
    derive_code_mappings: UnaryMethod[scm_pb2.DeriveCodeMappingsRequest, scm_pb2.DeriveCodeMappingsResponse]
    create_external_issue: UnaryMethod[scm_pb2.CreateExternalIssueRequest, scm_pb2.ExternalIssue]
    link_external_issue: UnaryMethod[scm_pb2.LinkExternalIssueRequest, scm_pb2.ExternalIssue]
    stream_repositories: StreamMethod[scm_pb2.StreamRepositoriesRequest, scm_pb2.Repository]
    batch_get_commit_context: UnaryMethod[scm_pb2.BatchGetCommitContextRequest, scm_pb2.BatchGetCommitContextResponse]
    list_code_mappings: UnaryMethod[scm_pb2.ListCodeMappingsRequest, scm_pb2.ListCodeMappingsResponse]
    delete_code_mapping: UnaryMethod[scm_pb2.DeleteCodeMappingRequest, scm_pb2.DeleteCodeMappingResponse]
    list_external_issues: UnaryMethod[scm_pb2.ListExternalIssuesRequest, scm_pb2.ListExternalIssuesResponse]
    unlink_external_issue: UnaryMethod[scm_pb2.UnlinkExternalIssueRequest, scm_pb2.UnlinkExternalIssueResponse]
    find_suspect_commits: UnaryMethod[scm_pb2.FindSuspectCommitsRequest, scm_pb2.FindSuspectCommitsResponse]
    list_projects: UnaryMethod[scm_pb2.ListProjectsRequest, scm_pb2.ListProjectsResponse]
    list_integrations: UnaryMethod[scm_pb2.ListIntegrationsRequest, scm_pb2.ListIntegrationsResponse]
    upsert_group: UnaryMethod[scm_pb2.UpsertGroupRequest, scm_pb2.Group]
    sync_repository: UnaryMethod[scm_pb2.SyncRepositoryRequest, scm_pb2.SyncRepositoryResponse]
    list_commits: UnaryMethod[scm_pb2.ListCommitsRequest, scm_pb2.ListCommitsResponse]
    describe_tracker_fields: UnaryMethod[scm_pb2.DescribeTrackerFieldsRequest, scm_pb2.DescribeTrackerFieldsResponse]
    search_external_issues: UnaryMethod[scm_pb2.SearchExternalIssuesRequest, scm_pb2.SearchExternalIssuesResponse]

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, scm_pb2.DESCRIPTOR.services_by_name["ScmService"])
