"""A client of ScmService with Python values for arguments and results."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flask_grpcweb_scm.client.call import RetryPolicy
from flask_grpcweb_scm.client.channel import Channel
from flask_grpcweb_scm.client.lists import (
    DerivedMappings,
    Page,
    SuspectCommits,
    every_record,
    line_of_file,
    provider_number,
    records_of,
)
from flask_grpcweb_scm.client.records import (
    CodeMapping,
    Commit,
    CommitContext,
    CommitContextOutcome,
    Repository,
    new_message,
)
from flask_grpcweb_scm.client.scm_issues import ScmIssues
from flask_grpcweb_scm.client.scm_lists import ScmLists
from flask_grpcweb_scm.client.scm_stub import ScmStub
from flask_grpcweb_scm.pb import scm_pb2

__all__ = ["ScmGrpcClient"]


class ScmGrpcClient(ScmIssues, ScmLists):
    """Calls ScmService with keyword arguments and returns Python values. Threads may share it.

    Every method raises :class:`CallError` when its call ends with a status other than OK.

    :param base_url: of the server, see :class:`Channel`.
    :param auth_token: sent as ``X-Grpc-Auth-Token``.
    :param hmac_secrets: newest first; without a token, requests are signed with the first one.
    :param timeout: seconds for a call, retries included; None for no limit.
    :param retry: for the methods that may be retried; None for no retries.
    :param ca_certs: path of a PEM file with the certificates to trust; None for the system's.
    :param protocol: ``"grpc-web"`` or ``"connect"``.
    :raises TypeError: when `hmac_secrets` is a str, whose first character would be the secret.
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
        protocol: str = "grpc-web",
    ) -> None:
        if isinstance(hmac_secrets, str):
            raise TypeError("hmac_secrets is a list of secrets, newest first; got a str")
        channel = Channel(
            base_url,
            token=auth_token,
            hmac_secret=next(iter(hmac_secrets), None),
            timeout=timeout,
            retry=retry,
            ca_certs=ca_certs,
            protocol=protocol,
        )
        self._use(channel)

    @classmethod
    def from_channel(cls, channel: Channel) -> ScmGrpcClient:
        """Make a client of a channel with other options, or of a test's."""
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
    ) -> Page[Repository]:
        """One page of an organization's active repositories, by name.

        :param provider: ``"github"`` for example, or a value of ``scm_pb2.Provider``; empty for all.
        :raises ValueError: when there is no such provider.
        """
        response = self.stub.list_repositories(
            new_message(
                scm_pb2.ListRepositoriesRequest,
                organization_id=organization_id,
                provider=provider_number(provider),
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
        return every_record(
            functools.partial(
                self.list_repositories,
                organization_id=organization_id,
                provider=provider,
                query=query,
                page_size=page_size,
            )
        )

    def stream_repositories(
        self, *, organization_id: int, provider: str | int = "", query: str = ""
    ) -> Iterator[Repository]:
        """All of an organization's active repositories, by name, in one call that goes on until they are all read.

        :raises ValueError: when there is no such provider.
        """
        request = new_message(
            scm_pb2.StreamRepositoriesRequest,
            organization_id=organization_id,
            provider=provider_number(provider),
            query=query,
        )
        return records_of(self.stub.stream_repositories(request), Repository)

    def get_repository(self, *, repository_id: int) -> Repository:
        """Return a repository."""
        request = new_message(scm_pb2.GetRepositoryRequest, repository_id=repository_id)
        return Repository.from_message(self.stub.get_repository(request))

    def get_commit(self, *, repository_id: int, commit_sha: str = "") -> Commit:
        """Return a commit by its SHA, or an unambiguous prefix of at least 7 characters.

        Here and in all methods, an empty one is that of the newest commit of the default branch.
        """
        request = new_message(scm_pb2.GetCommitRequest, repository_id=repository_id, commit_sha=commit_sha)
        return Commit.from_message(self.stub.get_commit(request))

    def get_commit_context(
        self,
        *,
        repository_id: int,
        filepath: str,
        line_number: int,
        commit_sha: str = "",
        blame_options: Mapping[str, bool] | None = None,
    ) -> CommitContext:
        """Return the commit that last changed a line, counted from 1, of a file as of a commit.

        :param blame_options: ``{"detect_moves": True}`` for example; see the message BlameOptions.
        """
        request = new_message(
            scm_pb2.GetCommitContextRequest,
            repository_id=repository_id,
            commit_sha=commit_sha,
            filepath=filepath,
            line_number=line_number,
            blame_options=blame_options,
        )
        return CommitContext.from_message(self.stub.get_commit_context(request))

    def batch_get_commit_context(
        self,
        *,
        repository_id: int,
        lines: Iterable[tuple[str, int] | tuple[str, int, str]],
        commit_sha: str = "",
        blame_options: Mapping[str, bool] | None = None,
    ) -> list[CommitContextOutcome]:
        """Return the outcome of :meth:`get_commit_context` for each of many lines, in their order.

        :param lines: file paths and line numbers; a third item is the commit of that line.
        :param commit_sha: of the lines that have none.
        """
        request = new_message(
            scm_pb2.BatchGetCommitContextRequest,
            repository_id=repository_id,
            commit_sha=commit_sha,
            lines=[line_of_file(*line) for line in lines],
            blame_options=blame_options,
        )
        return list(map(CommitContextOutcome.from_message, self.stub.batch_get_commit_context(request).outcomes))

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
        request = new_message(
            scm_pb2.CreateCodeMappingRequest,
            organization_id=organization_id,
            project_id=project_id,
            repository_id=repository_id,
            stack_root=stack_root,
            source_root=source_root,
            default_branch=default_branch,
        )
        return CodeMapping.from_message(self.stub.create_code_mapping(request))

    def derive_code_mappings(
        self,
        *,
        organization_id: int,
        project_id: int,
        stacktrace_paths: Iterable[str] = (),
        frames: Iterable[Mapping[str, Any]] = (),
        dry_run: bool = False,
    ) -> DerivedMappings:
        """Return the mappings that cover the paths of a stack trace, by precedence; missing ones are created.

        :param frames: with any of ``path``, ``module``, ``abs_path`` and ``platform``, for platforms whose paths alone
            name no file.
        :param dry_run: return the mappings without storing new ones.
        """
        request = new_message(
            scm_pb2.DeriveCodeMappingsRequest,
            organization_id=organization_id,
            project_id=project_id,
            stacktrace_paths=stacktrace_paths,
            frames=[new_message(scm_pb2.StackFrame, **frame) for frame in frames],
            dry_run=dry_run,
        )
        return DerivedMappings.from_message(self.stub.derive_code_mappings(request))

    def find_suspect_commits(
        self,
        *,
        organization_id: int,
        project_id: int,
        frames: Iterable[Mapping[str, Any]] = (),
        stacktrace: str = "",
        release_commits: Mapping[int, str] | None = None,
        first_seen: datetime | None = None,
        max_age: timedelta | None = None,
        blame_options: Mapping[str, bool] | None = None,
        dry_run: bool = False,
    ) -> SuspectCommits:
        """Return the commits that probably broke what a stack trace shows, the most suspicious first.

        :param frames: the outermost call first, and last the one that failed; with any of ``path``, ``module``,
            ``abs_path``, ``platform``, ``function``, ``line`` and ``in_app``.
        :param stacktrace: in place of frames, the text that the runtime prints.
        :param release_commits: the SHAs that ran, by repository; else the tips of their branches.
        :param first_seen: aware; no suspect is younger. By default now.
        :param max_age: no suspect is older at that time. By default any age.
        :param blame_options: ``detect_moves``, ``ignore_whitespace`` and ``include_ignored_revisions``.
        :param dry_run: store no code mappings.
        :raises ValueError: when `first_seen` has no time zone.
        """
        if first_seen is not None and first_seen.tzinfo is None:
            raise ValueError(f"first_seen needs a time zone, got {first_seen!r}")
        request = new_message(
            scm_pb2.FindSuspectCommitsRequest,
            organization_id=organization_id,
            project_id=project_id,
            frames=[new_message(scm_pb2.StackFrame, **frame) for frame in frames],
            stacktrace=stacktrace,
            release_commits=[
                new_message(scm_pb2.ReleaseCommit, repository_id=repository_id, commit_sha=sha)
                for repository_id, sha in (release_commits or {}).items()
            ],
            blame_options=None if blame_options is None else new_message(scm_pb2.BlameOptions, **blame_options),
            dry_run=dry_run,
        )
        # Versions of protobuf differ in which of their messages they take these for.
        if first_seen is not None:
            request.first_seen.FromDatetime(first_seen)
        if max_age is not None:
            request.max_age.FromTimedelta(max_age)
        return SuspectCommits.from_message(self.stub.find_suspect_commits(request))

    def list_code_mappings(
        self, *, organization_id: int, project_id: int, page_size: int = 0, page_token: str = ""
    ) -> Page[CodeMapping]:
        """One page of a project's code mappings, in order of precedence."""
        request = new_message(
            scm_pb2.ListCodeMappingsRequest,
            organization_id=organization_id,
            project_id=project_id,
            page_size=page_size,
            page_token=page_token,
        )
        response = self.stub.list_code_mappings(request)
        return Page(map(CodeMapping.from_message, response.mappings), response.next_page_token)

    def iter_code_mappings(self, *, organization_id: int, project_id: int, page_size: int = 0) -> Iterator[CodeMapping]:
        """All of a project's code mappings, in order of precedence; pages are fetched as they are needed."""
        return every_record(
            functools.partial(
                self.list_code_mappings, organization_id=organization_id, project_id=project_id, page_size=page_size
            )
        )

    def delete_code_mapping(self, *, organization_id: int, code_mapping_id: int) -> None:
        """Remove a code mapping."""
        request = new_message(
            scm_pb2.DeleteCodeMappingRequest, organization_id=organization_id, code_mapping_id=code_mapping_id
        )
        self.stub.delete_code_mapping(request)

    def close(self) -> None:
        """Close idle connections."""
        self.channel.close()

    def __enter__(self) -> ScmGrpcClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
