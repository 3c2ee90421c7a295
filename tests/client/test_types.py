"""What ``mypy --strict`` finds in the script of a user, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mypy_runs import assert_only_marked_errors

SCRIPT = """\
from flask_grpcweb_scm import Flask  # error: attr-defined
from flask_grpcweb_scm import GrpcWebScm, RpcError, StatusCode
from flask_grpcweb_scm.client import CallError, Channel, Page, Repository, ScmGrpcClient, ScmStub
from flask_grpcweb_scm.pb.scm_pb2 import GetCommitRequest, GetRepositoryRequest, Repository as RepositoryMessage
from flask_grpcweb_scm.pb.scm_pb2 import StreamRepositoriesRequest
from flask_grpcweb_scm.testing import ScmFactory, assert_rpc_error


def plain(client: ScmGrpcClient) -> None:
    page: Page[Repository] = client.list_repositories(organization_id=1, page_size=10)
    assert page[0].name.upper() == page[0]["name"]
    page[0].title  # error: attr-defined
    page.next_token  # error: attr-defined
    for repository in client.iter_repositories(organization_id=1):
        repository.nam  # error: attr-defined
    client.get_repository(repositoryid=1)  # error: call-arg
    client.get_repository(repository_id="1")  # error: arg-type
    client.get_repositry(repository_id=1)  # error: attr-defined
    issue = client.create_external_issue(organization_id=1, integration_id=2, title="Bug", metadata={"a": "b"})
    issue.key.upper()
    client.create_external_issue(organization_id=1, integration_id=2)  # error: call-arg
    outcomes = client.batch_get_commit_context(repository_id=1, lines=[("a.py", 1), ("b.py", 2, "abc")])
    outcomes[0].context.filename  # error: union-attr
    client.batch_get_commit_context(repository_id=1, lines=["a.py"])  # error: list-item


def in_connect() -> None:
    ScmGrpcClient("http://localhost", protocol="connect").get_repository(repository_id=1).name.upper()
    Channel("http://localhost", protocol="connect", use_get=True, codec="json")
    Channel("http://localhost", protocol=1)  # error: arg-type
    Channel("http://localhost", use_get="yes")  # error: arg-type


def with_messages(channel: Channel) -> None:
    stub = ScmStub(channel)
    message: RepositoryMessage = stub.get_repository(GetRepositoryRequest(repository_id=1), timeout=2)
    message.title  # error: attr-defined
    stub.get_repository(GetRepositoryRequest(repo_id=1))  # error: call-arg
    stub.get_repository(GetCommitRequest())  # error: arg-type
    stub.get_repositry(GetRepositoryRequest())  # error: attr-defined
    answer, call = stub.get_repository.with_call(GetRepositoryRequest())
    answer.id + 1
    answer.identity  # error: attr-defined
    call.trailing_metadata.get("x")
    with stub.stream_repositories(StreamRepositoriesRequest(organization_id=1)) as repositories:
        for repository in repositories:
            repository.nam  # error: attr-defined
        repositories.cancel()
    stub.stream_repositories(StreamRepositoriesRequest()).name  # error: attr-defined


def errors(client: ScmGrpcClient, factory: ScmFactory) -> str | None:
    try:
        client.get_repository(repository_id=factory.repository().id)
    except CallError as error:
        if error.code is StatusCode.NOT_FOUND and error.retry_after is not None:
            return error.call_id
        error.mesage  # error: attr-defined
    with assert_rpc_error(StatusCode.NOT_FOUND) as caught:
        raise RpcError(StatusCode.NOT_FOUND)
    factory.organisation()  # error: attr-defined
    return caught.value.message


Channel("http://127.0.0.1", retries=3)  # error: call-arg
ScmGrpcClient("http://127.0.0.1", auth_token=3)  # error: arg-type
GrpcWebScm(service=[])  # error: call-arg
"""


@pytest.mark.needs("mypy")
def test_mypy_finds_the_mistakes_of_a_script_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    assert_only_marked_errors(tmp_path, "script.py")


def test_the_script_can_be_imported_but_for_its_mistakes() -> None:
    imports = [line for line in SCRIPT.splitlines() if line.startswith("from ") and "# error" not in line]
    exec("\n".join(imports), {})
