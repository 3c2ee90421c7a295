"""Records: the fields of the proto, as plain values."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm.client import ExternalIssue, Record, Repository, records
from flask_grpcweb_scm.pb import scm_pb2


@pytest.mark.parametrize("record", Record.__subclasses__())
def test_the_records_have_the_fields_of_the_proto(record: type[Record]) -> None:
    message_class = getattr(scm_pb2, record.__name__)
    empty = record.from_message(message_class())
    assert list(empty) == [field.name for field in message_class.DESCRIPTOR.fields]
    assert record.__name__ in records.__all__


def test_a_record_is_a_mapping() -> None:
    issue = ExternalIssue.from_message(scm_pb2.ExternalIssue(id=1, key="A-1", metadata={"a": "b"}))
    assert issue["key"] == issue.key == "A-1"
    assert dict(issue) == {**issue}
    assert issue.get("nothing") is None
    with pytest.raises(KeyError):
        issue["from_message"]
    assert "keys" not in issue
    assert ExternalIssue(**issue) == issue


@pytest.mark.parametrize(("number", "name"), [(0, ""), (5, "azure_devops"), (6, "github_enterprise"), (99, "99")])
def test_enums_are_names(number: int, name: str) -> None:
    message = scm_pb2.Repository.FromString(b"\x28" + bytes([number]))
    assert Repository.from_message(message).provider == name
