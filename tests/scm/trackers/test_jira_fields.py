"""Texts as the JSON of Jira's fields, by what its metadata says of them."""

from __future__ import annotations

from typing import Any

from flask_grpcweb_scm.scm.trackers.jira_fields import JiraField, field_json, named, read_field
from tests.tables import check_rows

CUSTOM = "com.atlassian.jira.plugin.system.customfieldtypes:"
DIGITS = [{"id": "2", "value": "1"}, {"id": "1", "value": "2"}]
NETWORKS = [{"id": "1", "value": "TCP"}, {"id": "2", "value": "TCP/IP"}]


def field(schema: dict[str, str], allowed: Any = None) -> JiraField:
    found = read_field({"fieldId": "customfield_1", "name": "X", "schema": schema, "allowedValues": allowed})
    assert found is not None
    return found


def test_texts_become_the_json_of_their_field() -> None:
    number, option = {"type": "number"}, {"type": "option"}
    options = {"type": "array", "items": "option"}
    cascade = {"type": "option-with-child", "custom": CUSTOM + "cascadingselect"}
    sprint = "com.pyxis.greenhopper.jira:gh-sprint"

    def check(schema: dict[str, str], allowed: Any, text: str, expected: Any) -> None:
        assert field_json(field(schema, allowed), text, lambda text: text, "accountId") == expected

    check_rows(
        check,
        [
            (number, None, "-5", -5),
            (number, None, "1e3", 1000.0),
            (number, None, "9" * 400, int("9" * 400)),
            (number, None, "9" * 5000, "9" * 5000),
            (number, None, "1e400", "1e400"),
            (number, None, "1_000", "1_000"),
            (number, None, "1,5", "1,5"),
            # What people see, and then what they do not; the name of one may be the id of another.
            (option, DIGITS, "1", {"id": "2"}),
            (option, DIGITS, "2", {"id": "1"}),
            (option, [{"id": "1", "value": "a"}, {"id": "2", "value": "A"}], "A", {"id": "2"}),
            # Names with the signs between items, and between parent and child.
            (options, [{"id": "1", "value": "Slow, but works"}], "slow, but works", [{"id": "1"}]),
            (options, [{"id": "1", "value": "a"}], "a, b", [{"id": "1"}, {"value": "b"}]),
            (cascade, NETWORKS, "TCP/IP", {"id": "2"}),
            (cascade, NETWORKS, "tcp/ip / v4/v6", {"value": "tcp/ip", "child": {"value": "v4/v6"}}),
            (cascade, NETWORKS, "TCP / a", {"value": "TCP", "child": {"value": "a"}}),
            (cascade, None, "a / b", {"value": "a", "child": {"value": "b"}}),
            (cascade, None, "a/b / c", {"value": "a/b", "child": {"value": "c"}}),
            (cascade, None, "a/b", {"value": "a", "child": {"value": "b"}}),
            (cascade, None, "a / ", {"value": "a"}),
            # Of which the metadata says that it is a list, and Jira takes one number.
            ({"type": "array", "items": "json", "custom": sprint}, None, "37", 37),
            ({"type": "array", "items": "string", "custom": sprint}, None, "37", 37),
            ({"type": "issuelink"}, None, "APP-1", {"key": "APP-1"}),
            ({"type": "project"}, None, "APP", {"key": "APP"}),
            ({"type": "project"}, None, "10001", {"id": "10001"}),
            ({"type": "issuelink"}, None, "10001", {"id": "10001"}),
            ({"type": "any", "custom": "com.pyxis.greenhopper.jira:gh-epic-link"}, None, "APP-1", "APP-1"),
            ({"type": "any", "custom": "com.pyxis.greenhopper.jira:gh-lexo-rank"}, None, "0|i:", "0|i:"),
            ({"type": "team"}, None, "ab-1", "ab-1"),
            ({"type": "sd-unknown"}, None, "x", "x"),
            ({"type": "array", "items": "group"}, None, "a,b", [{"name": "a"}, {"name": "b"}]),
            ({"type": "array", "items": "user"}, None, "a", [{"accountId": "a"}]),
            ({"type": "array", "items": "version"}, None, "1.0", [{"name": "1.0"}]),
            ({"type": "datetime"}, None, " 2030-01-31T10:00:00.000+0000 ", "2030-01-31T10:00:00.000+0000"),
        ],
    )


def test_a_field_is_named_as_it_is_written() -> None:
    fields = [JiraField(f"customfield_{i}", name, "string") for i, name in enumerate(["severity", "Severity", "Note"])]
    rows = [("Severity", 1), ("severity", 0), ("SEVERITY", None), ("note", 2), ("customfield_0", 0)]
    for name, number in rows:
        assert named(fields, name) == (None if number is None else fields[number])


def test_what_is_required_is_what_a_caller_has_to_say() -> None:
    schema = {"type": "user"}
    for field_id, more, expected in [
        ("customfield_1", {}, True),
        ("customfield_1", {"hasDefaultValue": False}, True),
        ("customfield_1", {"hasDefaultValue": True}, False),
        # Without one it is the account; Data Center does not count that as a default.
        ("reporter", {"hasDefaultValue": False}, False),
    ]:
        found = read_field({"fieldId": field_id, "name": "X", "schema": schema, "required": True, **more})
        assert found is not None
        assert found.required is expected
