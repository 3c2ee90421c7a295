"""The fields of issues in Jira: what a project has, and the JSON of a field whose value is a text.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-createmeta-projectidorkey-issuetypes-get
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_grpcweb_scm.scm.providers.reply import parse_json
from flask_grpcweb_scm.scm.trackers.tracker import MAX_ALLOWED, TrackerField, comma_separated

__all__ = ["SYSTEM", "JiraField", "field_json", "given_json", "named", "read_field", "system_field"]

CUSTOM = re.compile(r"customfield_[0-9]{1,18}", re.ASCII)
TEXT_AREA = "textarea"
# By what a text names a value of a type; a name is what people see.
KEYS: Mapping[str, str] = {
    "component": "name",
    "group": "name",
    "issuelink": "key",
    "issuetype": "name",
    "option": "value",
    "priority": "name",
    "project": "key",
    "resolution": "name",
    "securitylevel": "name",
    "version": "name",
}
LABELS = ("name", "value", "key", "displayName")


@dataclass(frozen=True, slots=True)
class JiraField:
    """A field that issues of a type have in a project."""

    id: str
    """Such as ``components`` or ``customfield_10042``."""
    name: str
    """Such as ``Components`` or ``Severity``, as people see it."""
    type: str
    """Of its value, or of the items of its value."""
    is_list: bool = False
    is_text_area: bool = False
    required: bool = False
    allowed: tuple[tuple[str, str], ...] = ()
    """The id and the name of each allowed value, as far as Jira lists them."""

    def described(self) -> TrackerField:
        """Return what callers are told of it."""
        kind = f"list of {self.type}" if self.is_list else self.type
        return TrackerField(self.id, self.name, kind, self.required, [name for _, name in self.allowed])


SYSTEM: Mapping[str, JiraField] = {
    field.id: field
    for field in (
        JiraField("assignee", "Assignee", "user"),
        JiraField("components", "Components", "component", is_list=True),
        JiraField("duedate", "Due date", "date"),
        JiraField("environment", "Environment", "string", is_text_area=True),
        JiraField("fixVersions", "Fix versions", "version", is_list=True),
        JiraField("labels", "Labels", "string", is_list=True),
        JiraField("parent", "Parent", "issuelink"),
        JiraField("priority", "Priority", "priority"),
        JiraField("reporter", "Reporter", "user"),
        JiraField("security", "Security level", "securitylevel"),
        JiraField("versions", "Affects versions", "version", is_list=True),
    )
}
"""Fields of every Jira, by id."""


def system_field(name: str) -> JiraField | None:
    """Return what is known of a field that every Jira has, or any field by its id; None for any other name."""
    return SYSTEM.get(name) or (JiraField(name, name, "string") if CUSTOM.fullmatch(name) else None)


def read_field(row: Any) -> JiraField | None:
    """Read a field of the metadata; None for one that is not described as documented."""
    if not isinstance(row, dict) or not isinstance(row.get("schema"), dict):
        return None
    schema, field_id, name = row["schema"], row.get("fieldId") or row.get("key"), row.get("name")
    kind = schema.get("type")
    is_list = kind == "array"
    kind = schema.get("items") if is_list else kind
    if not (isinstance(field_id, str) and isinstance(name, str) and isinstance(kind, str)):
        return None
    custom = schema.get("custom")
    is_text_area = field_id == "environment" or (isinstance(custom, str) and custom.endswith(":" + TEXT_AREA))
    required = row.get("required") is True and row.get("hasDefaultValue") is not True
    allowed = tuple(_allowed(row.get("allowedValues")))
    return JiraField(field_id, name, kind, is_list, is_text_area, required, allowed)


def _allowed(rows: Any) -> Iterable[tuple[str, str]]:
    for row in rows[:MAX_ALLOWED] if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            name = next((row[key] for key in LABELS if isinstance(row.get(key), str)), row["id"])
            yield row["id"], name


def given_json(text: str) -> Any:
    """Return the object or list that a text is as JSON; None for any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = parse_json(text.encode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def field_json(field: JiraField, text: str, document: Callable[[str], Any], user_key: str) -> Any:
    """Return a text as the JSON of a field; an object or a list in JSON is that already.

    :param document: makes what the API takes for a text area.
    :param user_key: of an object that names a user.
    """
    given = given_json(text)
    if given is not None:
        return given
    if field.is_list:
        return [_item(field, item, user_key) for item in comma_separated(text)]
    if field.is_text_area:
        return document(text)
    return _item(field, text.strip() if field.type != "string" else text, user_key)


def _item(field: JiraField, text: str, user_key: str) -> Any:
    kind = field.type
    for value_id, name in field.allowed:
        if text.casefold() in (value_id.casefold(), name.casefold()):
            return {"id": value_id}
    if kind == "user":
        return {user_key: text}
    if kind in KEYS:
        return {KEYS[kind]: text}
    if kind == "number":
        return _number(text)
    if kind == "option-with-child":
        parent, _, child = (part.strip() for part in text.partition("/"))
        return {"value": parent, "child": {"value": child}} if child else {"value": parent}
    if kind == "timetracking":
        return {"originalEstimate": text}
    return text


def _number(text: str) -> Any:
    try:
        number = int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        # Jira's own words are better than ours.
        return text
    return number if math.isfinite(number) else text


def named(fields: Sequence[JiraField], name: str) -> JiraField | None:
    """Return the field with an id, or else the only one with a name, in any case of its letters."""
    for field in fields:
        if field.id == name:
            return field
    found = [field for field in fields if field.name.casefold() == name.casefold()]
    return found[0] if len(found) == 1 else None
