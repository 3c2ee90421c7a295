"""Makes linear.graphql of the types of Linear's SDK: what is used of its schema, and what that refers to.

npm pack @linear/sdk && tar xzf linear-sdk-*.tgz
python tests/scm/trackers/slim_linear.py package/dist/index-*.d.mts tests/scm/trackers/linear.graphql
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Empty for all of the fields that are scalars: of what is sent, the rest is refused as Linear refuses it.
FIELDS: dict[str, set[str]] = {
    "Query": {"issues", "searchIssues", "teams", "users"},
    "Mutation": {"issueCreate", "commentCreate"},
    "Issue": {"assignee", "id", "identifier", "state", "title", "url"},
    "IssueSearchResult": {"assignee", "id", "identifier", "state", "title", "url"},
    "IssueConnection": {"nodes"},
    "IssueSearchPayload": {"nodes"},
    "IssuePayload": {"issue", "success"},
    "CommentPayload": {"success"},
    "Team": {"id", "key"},
    "TeamConnection": {"nodes"},
    "User": {"displayName", "email", "id"},
    "UserConnection": {"nodes"},
    "WorkflowState": {"name"},
    "IssueCreateInput": set(),
    "CommentCreateInput": set(),
    "IssueFilter": {"id", "number", "team"},
    "TeamFilter": {"key"},
    "UserFilter": {"email"},
    "IssueIdComparator": set(),
    "NumberComparator": set(),
    "StringComparator": set(),
}
SCALARS = ["DateTime", "TimelessDate"]
KNOWN = {*FIELDS, *SCALARS, "ID", "String", "Boolean", "Int", "Float"}


def fields_of(code: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of a type of TypeScript, each with its type in GraphQL."""
    begin = re.search(rf"^type {name} = (?:Node & )?\{{\n(.*?)^\}};", code, re.DOTALL | re.MULTILINE)
    assert begin, name
    wanted = FIELDS.get(name, set())
    for field, optional, text in re.findall(r"^  (\w+)(\??): (.*);$", begin[1], re.MULTILINE):
        kind = re.sub(r'Scalars\["(\w+)"\]', r"\1", text)
        kind = re.sub(r"Array<(\w+)>", r"[\1!]", re.sub(r"(?:Input)?Maybe<(.*)>$", r"\1", kind))
        base = kind.strip("[]!")
        if base not in KNOWN:
            continue
        if field in wanted or name.endswith("Args") or (not wanted and base not in FIELDS):
            yield field, kind if optional else f"{kind}!"


def written(code: str, name: str) -> str:
    lines = []
    for field, kind in fields_of(code, name):
        arguments = ""
        if name in {"Query", "Mutation"}:
            given = fields_of(code, f"{name}{field[0].upper()}{field[1:]}Args")
            arguments = f"({', '.join(f'{each}: {of}' for each, of in given)})"
        lines.append(f"  {field}{arguments}: {kind}\n")
    keyword = "input" if name.endswith(("Input", "Filter", "Comparator")) else "type"
    return f"{keyword} {name} {{\n{''.join(lines)}}}\n"


def main(source: Path, target: Path) -> None:
    code = source.read_text()
    scalars = "".join(f"scalar {name}\n" for name in SCALARS)
    target.write_text(scalars + "".join("\n" + written(code, name) for name in FIELDS))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
