"""What type checkers find in the scripts of users: mypy fails on an ignored mistake that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_grpcweb_scm.client import Channel, ScmGrpcClient, ScmStub
from flask_grpcweb_scm.pb.scm_pb2 import GetCommitRequest, GetRepositoryRequest

if TYPE_CHECKING:
    from flask_grpcweb_scm.client import Page, Repository
    from flask_grpcweb_scm.pb.scm_pb2 import Repository as RepositoryMessage


def script(client: ScmGrpcClient, channel: Channel) -> None:
    """Never run."""
    page: Page = client.list_repositories(organization_id=1)
    repository: Repository = page[0]
    assert repository.name.upper() == repository["name"]
    assert repository.title  # type: ignore[attr-defined]
    client.get_repository(repositoryid=1)  # type: ignore[call-arg]
    client.get_repository(repository_id="1")  # type: ignore[arg-type]
    client.get_repositry(repository_id=1)  # type: ignore[attr-defined]

    stub = ScmStub(channel)
    message: RepositoryMessage = stub.get_repository(GetRepositoryRequest(repository_id=1), timeout=2)
    assert message.name == message.title  # type: ignore[attr-defined]
    stub.get_repository(GetRepositoryRequest(repo_id=1))  # type: ignore[call-arg]
    stub.get_repository(GetCommitRequest())  # type: ignore[arg-type]
    stub.get_repositry(GetRepositoryRequest())  # type: ignore[attr-defined]
    answer, call = stub.get_repository.with_call(GetRepositoryRequest())
    assert answer.id == call.trailing_metadata.get("x")
    assert answer.title  # type: ignore[attr-defined]


def test_nothing_of_this_runs() -> None:
    assert callable(script)
