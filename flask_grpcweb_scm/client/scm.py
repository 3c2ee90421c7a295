"""ScmService for people: a typed stub, and a client with plain arguments and results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType

from flask_grpcweb_scm.client.channel import Channel
from flask_grpcweb_scm.client.records import (
    CodeMapping,
    Commit,
    CommitContext,
    ExternalIssue,
    Repository,
    enum_name,
)
from flask_grpcweb_scm.client.retry import RetryPolicy
from flask_grpcweb_scm.client.stub import Stub, UnaryMethod
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import did_you_mean

__all__ = ["Page", "ScmGrpcClient", "ScmStub"]

_PROVIDERS = {enum_name(scm_pb2.Provider.DESCRIPTOR, number): number for number in scm_pb2.Provider.values()}


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

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, scm_pb2.DESCRIPTOR.services_by_name["ScmService"])


class Page(list[Repository]):
    """Some repositories, and the token of the page that follows; empty on the last page."""

    def __init__(self, repositories: Iterable[Repository], next_page_token: str) -> None:
        super().__init__(repositories)
        self.next_page_token = next_page_token


class ScmGrpcClient:
    """Calls ScmService with keyword arguments and returns plain values. Threads may share it.

    Every method raises :class:`CallError` when its call ends with another status than OK.

    :param base_url: of the server, see :class:`Channel`.
    :param auth_token: sent as ``X-Grpc-Auth-Token``.
    :param hmac_secrets: newest first; without a token, requests are signed with the first one.
    :param timeout: seconds for a call, retries included; None for no limit.
    :param retry: for the methods that may be retried; None for no retries.
    :param ca_certs: path of a PEM file with the certificates to trust; None for the system's.
    """

    def __init__(
        self,
        base_url: str,
        auth_token: str | None = None,
        *,
        hmac_secrets: Sequence[str] = (),
        timeout: float | None = 30.0,
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008  # frozen
        ca_certs: str | None = None,
    ) -> None:
        channel = Channel(
            base_url, token=auth_token, hmac_secrets=hmac_secrets, timeout=timeout, retry=retry, ca_certs=ca_certs
        )
        self._use(channel)

    @classmethod
    def from_channel(cls, channel: Channel) -> ScmGrpcClient:
        """A client over a channel with settings of its own, or over that of a test."""
        client = cls.__new__(cls)
        client._use(channel)
        return client

    def _use(self, channel: Channel) -> None:
        self.channel = channel
        self.stub = ScmStub(channel)
        """The same methods with messages, timeouts and metadata."""

    def list_repositories(
        self,
        *,
        organization_id: int,
        provider: str | int = "",
        query: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Page:
        """One page of an organization's active repositories, by name.

        :param provider: ``"github"`` for example, or a value of ``scm_pb2.Provider``; empty for all.
        :raises ValueError: when there is no such provider.
        """
        response = self.stub.list_repositories(
            scm_pb2.ListRepositoriesRequest(
                organization_id=organization_id,
                provider=_provider(provider),
                query=query,
                page_size=page_size,
                page_token=page_token,
            )
        )
        return Page(map(Repository.from_message, response.repositories), response.next_page_token)

    def iter_repositories(
        self, *, organization_id: int, provider: str | int = "", query: str = "", page_size: int = 0
    ) -> Iterator[Repository]:
        """All of an organization's active repositories, by name; pages are fetched as they are needed."""
        token = ""
        while True:
            page = self.list_repositories(
                organization_id=organization_id, provider=provider, query=query, page_size=page_size, page_token=token
            )
            yield from page
            token = page.next_page_token
            if not token:
                return

    def get_repository(self, *, repository_id: int) -> Repository:
        """One repository."""
        request = scm_pb2.GetRepositoryRequest(repository_id=repository_id)
        return Repository.from_message(self.stub.get_repository(request))

    def get_commit(self, *, repository_id: int, commit_sha: str) -> Commit:
        """A commit, by its SHA or an unambiguous beginning of it with 7 characters at least."""
        request = scm_pb2.GetCommitRequest(repository_id=repository_id, commit_sha=commit_sha)
        return Commit.from_message(self.stub.get_commit(request))

    def get_commit_context(
        self, *, repository_id: int, commit_sha: str, filepath: str, line_number: int
    ) -> CommitContext:
        """Which commit last changed a line, counted from 1, of a file as of a commit."""
        request = scm_pb2.GetCommitContextRequest(
            repository_id=repository_id, commit_sha=commit_sha, filepath=filepath, line_number=line_number
        )
        return CommitContext.from_message(self.stub.get_commit_context(request))

    def create_code_mapping(
        self,
        *,
        organization_id: int,
        project_id: int,
        repository_id: int,
        stack_root: str = "",
        source_root: str = "",
        default_branch: str = "",
    ) -> CodeMapping:
        """Record how paths in a project's stack traces become paths in a repository."""
        request = scm_pb2.CreateCodeMappingRequest(
            organization_id=organization_id,
            project_id=project_id,
            repository_id=repository_id,
            stack_root=stack_root,
            source_root=source_root,
            default_branch=default_branch,
        )
        return CodeMapping.from_message(self.stub.create_code_mapping(request))

    def derive_code_mappings(
        self, *, organization_id: int, project_id: int, stacktrace_paths: Iterable[str]
    ) -> list[CodeMapping]:
        """The mappings that cover the paths of a stack trace, in order of precedence."""
        request = scm_pb2.DeriveCodeMappingsRequest(
            organization_id=organization_id, project_id=project_id, stacktrace_paths=stacktrace_paths
        )
        return [CodeMapping.from_message(mapping) for mapping in self.stub.derive_code_mappings(request).mappings]

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

        :param metadata: what the tracker asks for besides.
        :param idempotency_key: one for each issue; a call that has one may be retried.
        """
        request = scm_pb2.CreateExternalIssueRequest(
            organization_id=organization_id,
            integration_id=integration_id,
            title=title,
            description=description,
            metadata=metadata,
        )
        key = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
        return ExternalIssue.from_message(self.stub.create_external_issue(request, metadata=key))

    def link_external_issue(self, *, group_id: int, external_issue_id: int) -> ExternalIssue:
        """Attach an external issue to an error group."""
        request = scm_pb2.LinkExternalIssueRequest(group_id=group_id, external_issue_id=external_issue_id)
        return ExternalIssue.from_message(self.stub.link_external_issue(request))

    def close(self) -> None:
        """Close idle connections."""
        self.channel.close()

    def __enter__(self) -> ScmGrpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _provider(provider: str | int) -> scm_pb2.Provider.ValueType:
    if isinstance(provider, str):
        if provider not in _PROVIDERS:
            raise ValueError(f"there is no provider {provider!r}{did_you_mean(provider, _PROVIDERS)}")
        return _PROVIDERS[provider]
    return scm_pb2.Provider.ValueType(provider)
