"""Stack traces from the field, over repositories with such files: what becomes of each frame that matters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CodeMapping, Organization, Project, Repository, db
from flask_grpcweb_scm.scm.code_mappings.tracebacks import parse_traceback
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.support import GitRepository, Scm, make_app

FIELD = json.loads(Path(__file__).with_name("field_cases.json").read_text())
CASES: list[dict[str, Any]] = FIELD["cases"]
PREFIXES: dict[str, Any] = FIELD["prefixes"]

Frame = Mapping[str, Any]
# Outcomes that are right for each that is expected: not ours is skipped or unsupported, no match may be not ours too.
NOT_OURS = {"skipped", "unsupported"}
RIGHT = {
    "mapped": {"covered", "derived"},
    "not_ours": NOT_OURS,
    "ambiguous": {"ambiguous"},
    "no_match": {"no match", *NOT_OURS},
}


class Field:
    """An app with the repositories of cases, and what it says of traces."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app, self.folder = app, folder
        self._run("add-organization", "acme")
        self._run("add-project", "acme", "web")

    def add_repository(self, name: str, files: Iterable[str], contents: Mapping[str, str]) -> None:
        git = GitRepository(self.folder / name)
        git.git("remote", "add", "origin", f"https://github.com/{name}.git")
        stream = "commit refs/heads/main\ncommitter C <c@x> 1600000000 +0000\ndata 0\n\n"
        for file in files:
            text = contents.get(file, "x\n" * 60)
            stream += f'M 100644 inline "{file}"\ndata {len(text.encode())}\n{text}\n'
        git.fast_import(stream.encode())
        self._run("import-git", "acme", str(git.path), "--name", name)

    def add_mapping(self, repository: str, stack_root: str, source_root: str) -> None:
        with self.app.app_context():
            ids = {
                "organization_id": db.session.scalars(sa.select(Organization.id)).one(),
                "project_id": db.session.scalars(sa.select(Project.id)).one(),
                "repository_id": db.session.scalars(sa.select(Repository.id).filter_by(name=repository)).one(),
            }
        Scm(self.app)("CreateCodeMapping", **ids, stack_root=stack_root, source_root=source_root, default_branch="main")

    def trace(self, text: str) -> list[Frame]:
        """What ``flask scm derive`` says of each frame."""
        arguments = ["scm", "derive", "acme", "web", "--traceback", "-", "--json"]
        result = self.app.test_cli_runner().invoke(args=arguments, input=text)
        if result.exit_code == 1 and "the text has no frames" in result.output:
            return []
        assert result.exit_code == 0, result.output
        frames: list[Frame] = json.loads(result.stdout)["frames"]
        return frames

    def frames(self, frames: Sequence[Mapping[str, str]], *, dry_run: bool = False) -> list[Frame]:
        """What DeriveCodeMappings says of each frame."""
        with self.app.app_context():
            organization = db.session.scalars(sa.select(Organization.id)).one()
            project = db.session.scalars(sa.select(Project.id)).one()
            names = {row.id: row.name for row in db.session.scalars(sa.select(Repository))}
        ids = {"organization_id": organization, "project_id": project}
        outcomes = Scm(self.app)("DeriveCodeMappings", **ids, frames=frames, dry_run=dry_run).outcomes
        kinds = scm_pb2.PathOutcome.Outcome
        return [
            {
                "place": outcome.path,
                "outcome": kinds.Name(outcome.outcome).removeprefix("OUTCOME_").lower().replace("_", " "),
                "source_path": outcome.source_path,
                "repository": names.get(outcome.repository_id, ""),
                "line": 0,
            }
            for outcome in outcomes
        ]

    def stored(self) -> set[tuple[int, str, str, bool]]:
        with self.app.app_context():
            rows = db.session.scalars(sa.select(CodeMapping)).all()
            return {(row.repository_id, row.stack_root, row.source_root, row.automatically_generated) for row in rows}

    def _run(self, *arguments: str) -> None:
        result = self.app.test_cli_runner().invoke(args=["scm", *arguments])
        assert result.exit_code == 0, result.output


def check(frames: Sequence[Frame], expected: Frame, case: Mapping[str, Any]) -> None:
    if "line" in expected:
        found = [frame for frame in frames if frame["line"] == expected["line"]]
    else:
        found = [frame for frame in frames if expected["frame"] in frame["place"]]
    if not found and (expected["outcome"] == "not_ours" or case.get("may_be_unread")):
        return
    assert found, f"no frame for {expected}"
    for frame in found:
        assert frame["outcome"] in RIGHT[expected["outcome"]], (frame, expected)
        assert frame["source_path"] == (expected.get("source_path") or ""), (frame, expected)
        if expected["outcome"] == "mapped":
            assert frame["repository"] == expected["repository"], (frame, expected)


@pytest.fixture
def field(tmp_path: Path, sqlite_databases: SqliteDatabases) -> Iterator[Field]:
    # One kind of database is enough: what is stored is compared in test_derive.py on each.
    uri = sqlite_databases.create()
    with disposed(make_app(uri)) as app:
        yield Field(app, tmp_path)
    sqlite_databases.drop(uri)


def prepare(field: Field, case: Mapping[str, Any]) -> None:
    for name, files in case["repositories"].items():
        field.add_repository(name, files, case.get("contents", {}).get(name, {}))
    for mapping in case.get("user_mappings", []):
        field.add_mapping(**mapping)


def texts_of(case: Mapping[str, Any]) -> list[Any]:
    texts: list[Any] = case.get("traces") or case["frames"]
    return texts


@pytest.mark.needs("time")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_cases(field: Field, case: dict[str, Any]) -> None:
    prepare(field, case)
    # Before anything is stored.
    check_that_the_order_of_frames_changes_nothing(field, case)
    files = {file for names in case["repositories"].values() for file in names}
    before = field.stored()
    for text, expected in zip(texts_of(case), case["expect"], strict=True):
        frames = field.trace(text) if isinstance(text, str) else field.frames(text)
        for each in expected:
            check(frames, each, case)
        assert {frame["source_path"] for frame in frames} <= {*files, ""}
        if case.get("no_other_frames"):
            mapped = [frame for frame in frames if frame["outcome"] not in NOT_OURS]
            assert len(mapped) == len(expected)
    assert before <= field.stored()
    assert "" not in {stack_root for _, stack_root, _, generated in field.stored() if generated}


def check_that_the_order_of_frames_changes_nothing(field: Field, case: Mapping[str, Any]) -> None:
    for text in texts_of(case):
        if not isinstance(text, str) or text.count("\n") < 3:
            continue
        # What is read may need its neighbours, so that frames are turned and not lines.
        frames = [frame.frame for frame in parse_traceback(text)]
        fields = [dataclasses.asdict(frame) for frame in frames]
        there = field.frames(fields, dry_run=True)
        assert field.frames(fields[::-1], dry_run=True)[::-1] == there
        middle = len(fields) // 2
        turned = field.frames([*fields[middle:], *fields[:middle]], dry_run=True)
        assert [*turned[len(fields) - middle :], *turned[: len(fields) - middle]] == there
