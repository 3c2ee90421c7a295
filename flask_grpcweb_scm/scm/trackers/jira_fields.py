"""The fields of issues in Jira: what a project has, and the JSON of a field whose value is a text.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-createmeta-projectidorkey-issuetypes-get
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask_grpcweb_scm.scm.providers.reply import parse_json
from flask_grpcweb_scm.scm.trackers.issues import MAX_ALLOWED, TrackerField, comma_separated

__all__ = ["SYSTEM", "JiraField", "field_json", "given_json", "named", "read_field", "system_field"]

CUSTOM = re.compile(r"customfield_[0-9]{1,18}", re.ASCII)
TEXT_AREA = "textarea"
# The metadata calls it a list of JSON or of texts, and a create takes the number of one.
SPRINT = "gh-sprint"
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)
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
    custom = str(schema.get("custom")).rpartition(":")[2]
    if custom == SPRINT:
        kind, is_list = "number", False
    is_text_area = field_id == "environment" or custom == TEXT_AREA
    # Without a reporter it is the account, which Data Center does not call a default.
    has_default = row.get("hasDefaultValue") is True or field_id == "reporter"
    required = row.get("required") is True and not has_default
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
        # A name may have a comma itself.
        items = [text.strip()] if _allowed_id(field, text.strip()) else comma_separated(text)
        return [_item(field, item, user_key) for item in items]
    if field.is_text_area:
        return document(text)
    return _item(field, text.strip() if field.type != "string" else text, user_key)


def _item(field: JiraField, text: str, user_key: str) -> Any:
    kind = field.type
    if value_id := _allowed_id(field, text):
        return {"id": value_id}
    if kind == "user":
        return {user_key: text}
    if kind in KEYS:
        # Neither a project nor an issue has a key of digits.
        return {"id" if KEYS[kind] == "key" and text.isdecimal() else KEYS[kind]: text}
    if kind == "number":
        return _number(text)
    if kind == "option-with-child":
        parent, child = _parent_and_child(field, text)
        return {"value": parent, "child": {"value": child}} if child else {"value": parent}
    if kind == "timetracking":
        return {"originalEstimate": text}
    return text


def _allowed_id(field: JiraField, text: str) -> str:
    """Return the id of an allowed value by its name, or else by its id: a name may be the id of another one."""
    by_name = {name.casefold(): value_id for value_id, name in reversed(field.allowed)}
    exactly = {name: value_id for value_id, name in reversed(field.allowed)}
    ids = {value_id: value_id for value_id, _ in field.allowed}
    return exactly.get(text) or by_name.get(text.casefold()) or ids.get(text) or ""


def _parent_and_child(field: JiraField, text: str) -> tuple[str, str]:
    """Split ``Parent / Child``, of which either name may have a slash itself."""
    signs = [*re.finditer("/", text)]
    pairs = [(text[: sign.start()].strip(), text[sign.end() :].strip()) for sign in signs]
    names = {name.casefold() for _, name in field.allowed}
    known = [pair for pair in pairs if pair[0].casefold() in names]
    spaced = [pair for sign, pair in zip(signs, pairs, strict=True) if text[: sign.start()].endswith(" ")]
    return (known[::-1] or spaced or pairs or [(text, "")])[0]


def _number(text: str) -> Any:
    # Of what is none, Jira's own words are better than ours.
    if _NUMBER.fullmatch(text) is None:
        return text
    with contextlib.suppress(ValueError):
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else text


def named(fields: Iterable[JiraField], name: str) -> JiraField | None:
    """Return the field with an id, or else the only one with a name, as it is written or in any case of its letters."""
    known = [*fields]
    for found in (
        [field for field in known if field.id == name],
        [field for field in known if field.name == name],
        [field for field in known if field.name.casefold() == name.casefold()],
    ):
        if found:
            return found[0] if len(found) == 1 else None
    return None
