"""The compiled API against the schema that existing clients rely on, and committed against regenerated code."""

import os
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from flask_grpcweb_scm.pb import scm_pb2

ROOT = Path(__file__).parent.parent
PROTOS = sorted(path.relative_to(ROOT / "protos") for path in (ROOT / "protos").rglob("*.proto"))
GENERATOR = Path(os.environ.get("PROTOS_PYTHON", ROOT / ".venv-protos/bin/python"))

# message → its fields in the order of their numbers, which count from 1.
MESSAGES = {
    "Repository": "id:int64 organization_id:int64 name:string url:string provider:Provider external_id:string"
    " status:RepositoryStatus date_added:google.protobuf.Timestamp config:map<string,string>",
    "Commit": "id:string repository_id:int64 key:string message:string author:CommitAuthor"
    " date_added:google.protobuf.Timestamp",
    "CommitAuthor": "name:string email:string external_id:string",
    "CommitContext": "repository_id:int64 commit_id:string filename:string line_number:int32 blame_commit_id:string"
    " blame_author:CommitAuthor code_snippet:string",
    "CodeMapping": "id:int64 organization_id:int64 project_id:int64 repository_id:int64 stack_root:string"
    " source_root:string default_branch:string",
    "ExternalIssue": "id:int64 organization_id:int64 integration_id:int64 key:string title:string description:string"
    " web_url:string metadata:map<string,string>",
    "ListRepositoriesRequest": "organization_id:int64 provider:Provider query:string page_size:int32 page_token:string",
    "ListRepositoriesResponse": "repositories:repeated-Repository next_page_token:string",
    "GetRepositoryRequest": "repository_id:int64",
    "GetCommitRequest": "repository_id:int64 commit_sha:string",
    "GetCommitContextRequest": "repository_id:int64 commit_sha:string filepath:string line_number:int32",
    "CreateCodeMappingRequest": "organization_id:int64 project_id:int64 repository_id:int64 stack_root:string"
    " source_root:string default_branch:string",
    "DeriveCodeMappingsRequest": "organization_id:int64 project_id:int64 stacktrace_paths:repeated-string",
    "DeriveCodeMappingsResponse": "mappings:repeated-CodeMapping",
    "CreateExternalIssueRequest": "organization_id:int64 integration_id:int64 title:string description:string"
    " metadata:map<string,string>",
    "LinkExternalIssueRequest": "group_id:int64 external_issue_id:int64",
}
# enum → its values in the order of their numbers, which count from 0.
ENUMS = {
    "Provider": "PROVIDER_UNSPECIFIED PROVIDER_GITHUB PROVIDER_GITLAB PROVIDER_BITBUCKET PROVIDER_BITBUCKET_SERVER"
    " PROVIDER_AZURE_DEVOPS PROVIDER_GITHUB_ENTERPRISE",
    "RepositoryStatus": "REPOSITORY_STATUS_UNSPECIFIED REPOSITORY_STATUS_ACTIVE REPOSITORY_STATUS_DISABLED"
    " REPOSITORY_STATUS_HIDDEN",
}
# method → request and response.
METHODS = {
    "ListRepositories": "ListRepositoriesRequest ListRepositoriesResponse",
    "GetRepository": "GetRepositoryRequest Repository",
    "GetCommit": "GetCommitRequest Commit",
    "GetCommitContext": "GetCommitContextRequest CommitContext",
    "CreateCodeMapping": "CreateCodeMappingRequest CodeMapping",
    "DeriveCodeMappings": "DeriveCodeMappingsRequest DeriveCodeMappingsResponse",
    "CreateExternalIssue": "CreateExternalIssueRequest ExternalIssue",
    "LinkExternalIssue": "LinkExternalIssueRequest ExternalIssue",
}
SCALARS = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_STRING: "string",
}


def _compiled() -> FileDescriptorProto:
    """Read the compiled file as a message, whose fields are the same in every version of protobuf."""
    file = FileDescriptorProto()
    scm_pb2.DESCRIPTOR.CopyToProto(file)
    return file


FILE = _compiled()


def _type(field: FieldDescriptorProto) -> str:
    """Write a field's label and type as the table does."""
    name = field.type_name.removeprefix(f".{FILE.package}.").removeprefix(".") or SCALARS[field.type]
    return f"repeated-{name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _fields(message: DescriptorProto) -> dict[str, tuple[int, str]]:
    maps = {
        f"repeated-{message.name}.{entry.name}": f"map<{','.join(map(_type, entry.field))}>"
        for entry in message.nested_type
        if entry.options.map_entry
    }
    return {field.name: (field.number, maps.get(_type(field), _type(field))) for field in message.field}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_the_fields_that_clients_know(name: str) -> None:
    listed = [field.split(":") for field in MESSAGES[name].split()]
    expected = {field: (number, type_) for number, (field, type_) in enumerate(listed, start=1)}
    actual = _fields(next(message for message in FILE.message_type if message.name == name))
    assert expected.items() <= actual.items()
    assert all(number > len(expected) for field, (number, _) in actual.items() if field not in expected)


@pytest.mark.parametrize("name", MESSAGES)
def test_no_listed_field_tells_absent_from_empty(name: str) -> None:
    """An `optional` scalar is another contract than the one that clients were generated from."""
    listed = {field.split(":")[0] for field in MESSAGES[name].split()}
    message = next(message for message in FILE.message_type if message.name == name)
    assert [field.name for field in message.field if field.proto3_optional and field.name in listed] == []


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_has_the_values_that_clients_know(name: str) -> None:
    expected = {value: number for number, value in enumerate(ENUMS[name].split())}
    enum = next(enum for enum in FILE.enum_type if enum.name == name)
    actual = {value.name: value.number for value in enum.value}
    assert expected.items() <= actual.items()
    assert all(number >= len(expected) for value, number in actual.items() if value not in expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_unary_with_the_messages_that_clients_know(name: str) -> None:
    service = scm_pb2.DESCRIPTOR.services_by_name["ScmService"]
    method = service.methods_by_name[name]
    assert service.full_name == "sentry.integrations.scm.v1.ScmService"
    assert f"{method.input_type.name} {method.output_type.name}" == METHODS[name]
    assert not method.client_streaming
    assert not method.server_streaming


def test_what_the_generator_makes_is_committed(tmp_path: Path) -> None:
    require_generator()
    subprocess.run([GENERATOR, ROOT / "protos/generate.py", tmp_path], check=True)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # The services of the template are generated when they have a name.
    modules = [name for name in PROTOS if name.parent.name != "template"]
    with_services = [name for name in modules if "\nservice " in (ROOT / "protos" / name).read_text()]
    assert len(made) == 4 * len(PROTOS) + len(with_services)
    differing = [str(path) for path in made if not _same(ROOT / path, made[path])]
    assert not differing, f"{', '.join(differing)} is not what protos/ says; run: make protos"


def _same(committed: Path, content: bytes) -> bool:
    return committed.is_file() and committed.read_bytes() == content


def require_generator() -> None:
    if _runs("import grpc_tools.protoc, mypy_protobuf"):
        return
    reason = f"the pinned code generator is not installed at {GENERATOR}; run: make protos"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _runs(code: str) -> bool:
    return GENERATOR.exists() and subprocess.run([GENERATOR, "-c", code], capture_output=True).returncode == 0
