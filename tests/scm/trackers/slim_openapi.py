"""Makes github-openapi.json of GitHub's description: the operations that are used, and what those refer to.

npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
python tests/scm/trackers/slim_openapi.py package/generated/api.github.com.json tests/scm/trackers/github-openapi.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OPERATIONS = [
    ("/repos/{owner}/{repo}/issues", "post"),
    ("/repos/{owner}/{repo}/issues", "get"),
    ("/repos/{owner}/{repo}/issues/{issue_number}", "get"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/comments", "get"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/comments", "post"),
    ("/repos/{owner}/{repo}", "get"),
    ("/repos/{owner}/{repo}/branches/{branch}", "get"),
    ("/repos/{owner}/{repo}/commits/{ref}", "get"),
    ("/repos/{owner}/{repo}/git/commits/{commit_sha}", "get"),
    ("/repos/{owner}/{repo}/git/trees/{tree_sha}", "get"),
    ("/app/installations/{installation_id}/access_tokens", "post"),
    ("/installation/repositories", "get"),
    ("/orgs/{org}/repos", "get"),
    ("/user", "get"),
    ("/user/repos", "get"),
    ("/users/{username}", "get"),
    ("/users/{username}/repos", "get"),
]
# What a validator does not read.
PROSE = {"description", "example", "examples", "externalDocs", "summary", "tags", "title"}


def slim(node: Any, *, names: bool = False) -> Any:
    """Without prose; `names` says that the keys are names of properties, which may be the same words."""
    if isinstance(node, list):
        return [slim(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if names or not (key in PROSE or key.startswith("x-"))}
    return {key: slim(value, names=key in {"properties", "headers"} and not names) for key, value in kept.items()}


def references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own.union(*map(references, node.values()))


def main(source: Path, target: Path) -> None:
    whole = json.loads(source.read_text())
    paths: dict[str, Any] = {}
    for path, method in OPERATIONS:
        paths.setdefault(path, {})[method] = slim(whole["paths"][path][method])
    components: dict[str, dict[str, Any]] = {}
    missing = references(paths)
    while missing:
        for reference in sorted(missing):
            _, _, section, name = reference.split("/")
            components.setdefault(section, {})[name] = slim(whole["components"][section][name])
        missing = {r for r in references(components) if r.split("/")[3] not in components.get(r.split("/")[2], {})}
    responses = [*components["responses"].values()]
    responses += [response for path, method in OPERATIONS for response in paths[path][method]["responses"].values()]
    for response in responses:
        if "$ref" not in response:
            response["description"] = ""  # OpenAPI wants one
    slimmed = {
        "openapi": whole["openapi"],
        "info": {"title": whole["info"]["title"], "version": whole["info"]["version"]},
        "servers": whole["servers"],
        "paths": paths,
        "components": components,
    }
    target.write_text(json.dumps(slimmed, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
