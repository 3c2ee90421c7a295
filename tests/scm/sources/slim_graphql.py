"""Makes github.graphql of GitHub's schema: the fields that are used, and what those refer to.

npm pack @octokit/graphql-schema && tar xzf octokit-graphql-schema-*.tgz
python tests/scm/sources/slim_graphql.py package/schema.graphql tests/scm/sources/github.graphql
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from graphql import (
    REMOVE,
    DirectiveDefinitionNode,
    DirectiveNode,
    FieldDefinitionNode,
    NamedTypeNode,
    Node,
    SchemaDefinitionNode,
    TypeDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

FIELDS = {
    "Query": {"repository"},
    "Repository": {"issue", "nameWithOwner", "object"},
    "Issue": {"assignees", "number", "state", "stateReason", "title", "url"},
    "IssueState": set(),
    "IssueStateReason": set(),
    "UserConnection": {"nodes"},
    "User": {"login"},
    "URI": set(),
    "GitObject": {"oid"},
    "Commit": {"author", "blame", "committedDate", "messageHeadline", "oid"},
    "Tree": {"oid"},
    "Tag": {"oid"},
    "Blame": {"ranges"},
    "BlameRange": {"commit", "endingLine", "startingLine"},
    "GitActor": {"email", "name"},
    "Blob": {"isTruncated", "oid", "text"},
    "GitObjectID": set(),
    "DateTime": set(),
}


class Slimmer(Visitor):
    """Leaves the fields above, without prose and without interfaces and directives that are left out."""

    def enter(self, node: Node, key: object, parent: object, path: list[object], ancestors: list[Any]) -> object:
        if isinstance(node, TypeDefinitionNode):
            self.type = node.name.value
            return None if self.type in FIELDS else REMOVE
        gone = (
            isinstance(node, DirectiveNode | DirectiveDefinitionNode | SchemaDefinitionNode)
            or (isinstance(node, FieldDefinitionNode) and node.name.value not in FIELDS[self.type])
            or (isinstance(node, NamedTypeNode) and path[-2] == "interfaces" and node.name.value not in FIELDS)
        )
        return REMOVE if gone else None


def main(source: Path, target: Path) -> None:
    code = re.sub(r'""".*?"""', "", source.read_text(), flags=re.DOTALL)
    target.write_text(print_ast(visit(parse(code), Slimmer())) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
