"""What holds for any files and any stack trace: no file that is not there, and nothing depends on the order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_grpcweb_scm.scm import CodeMapping, Repository, db
from tests.scm.code_mappings.test_derive import commit_files
from tests.scm.databases import disposed
from tests.scm.support import GitRepository, Scm, Tenant, add_tenant, make_app

EXAMPLES = max(settings().max_examples // 4, 10)
REPOSITORIES = ("acme/one", "acme/two")
FOLDERS = st.sampled_from(["a", "b", "ns", "src", "src/main/java", "src/test/java", "back", "json"])
NAMES = st.sampled_from(["x.py", "y.py", "X.java", "manage.py", "z.go", "notes.txt"])
FILES = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(FOLDERS, max_size=4), NAMES)
PREFIXES = st.sampled_from(
    [
        "", "", "/", "/app/", "/app/", "/home/kim/", "./", "app:///", "C:\\work\\", "~/", "webpack:///./",
        "/usr/lib/python3.12/", "/v/lib/python3.12/site-packages/", "/app/node_modules/@acme/one/",
        "/go/pkg/mod/github.com/acme/one@v1.2.3/", "/app/vendor/", "https://x.example/", "<frozen ",
    ]
)  # fmt: skip
PATHS = st.builds(
    lambda prefix, file, whole: prefix + (file if whole else file.partition("/")[2] or file),
    PREFIXES,
    FILES,
    st.booleans(),
)
FRAMES = st.one_of(
    st.builds(lambda path: {"path": path}, PATHS),
    st.builds(lambda path, absolute: {"path": path, "abs_path": absolute}, NAMES, PATHS),
    st.sampled_from(
        [{"module": module, "abs_path": "X.java", "platform": "java"} for module in ("a.X", "ns.b.X", "java.ns.X")]
    ),
)
ROOTS = st.sampled_from(["", "/", "/app/", "/app", "/app/a/", "ns/", "a/", "src/", "C:\\work\\"])
MAPPINGS = st.dictionaries(ROOTS, st.tuples(st.sampled_from([0, 1]), ROOTS, st.booleans()), max_size=3)

Trees = dict[str, set[str]]


class World:
    """An app with a tenant and two repositories, whose files and mappings change."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app, self.scm = app, Scm(app)
        self.git = {name: GitRepository(folder / name) for name in REPOSITORIES}
        with app.app_context():
            db.create_all()
            self.tenant: Tenant = add_tenant("ours")
            rows = [
                Repository(
                    organization_id=self.tenant.organization, name=name, external_id=name, default_branch="main",
                    url=f"https://github.com/{name}.git", mirror_path=str(git.path / ".git"),
                )
                for name, git in self.git.items()
            ]  # fmt: skip
            db.session.add_all(rows)
            db.session.commit()
            self.ids = [row.id for row in rows]

    def become(self, files: list[set[str]], mappings: dict[str, tuple[int, str, bool]]) -> None:
        for git, names in zip(self.git.values(), files, strict=True):
            commit_files(git, [*sorted(names), "README.md"])
        self.store(mappings)

    def store(self, mappings: dict[str, tuple[int, str, bool]]) -> None:
        with self.app.app_context():
            db.session.execute(sa.delete(CodeMapping))
            db.session.add_all(
                CodeMapping(
                    organization_id=self.tenant.organization, project_id=self.tenant.project,
                    repository_id=self.ids[number], stack_root=stack_root, source_root=source_root.lstrip("/"),
                    automatically_generated=generated,
                )
                for stack_root, (number, source_root, generated) in mappings.items()
            )  # fmt: skip
            db.session.commit()

    def derive(self, frames: list[dict[str, str]]) -> list[tuple[Any, ...]]:
        ids = {"organization_id": self.tenant.organization, "project_id": self.tenant.project}
        outcomes = self.scm("DeriveCodeMappings", **ids, frames=frames).outcomes
        return [(each.outcome, each.repository_id, each.source_path) for each in outcomes]

    def stored(self) -> set[tuple[int, str, str, bool]]:
        with self.app.app_context():
            rows = db.session.scalars(sa.select(CodeMapping)).all()
            return {(row.repository_id, row.stack_root, row.source_root, row.automatically_generated) for row in rows}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with disposed(make_app(f"sqlite:///{folder}/scm.db")) as app:
        yield World(app, folder)


@given(
    files=st.lists(st.sets(FILES, max_size=8), min_size=2, max_size=2),
    mappings=MAPPINGS,
    frames=st.lists(FRAMES, min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.needs("time")
def test_no_file_that_is_not_there_and_no_matter_the_order(
    world: World,
    files: list[set[str]],
    mappings: dict[str, tuple[int, str, bool]],
    frames: list[dict[str, str]],
    order: Any,
) -> None:
    files = [{file for file in names if not any(other.startswith(f"{file}/") for other in names)} for names in files]
    world.become(files, mappings)
    before = world.stored()
    outcomes = world.derive(frames)
    stored = world.stored()
    trees = dict(zip(world.ids, files, strict=True))
    for _, repository, path in outcomes:
        assert not path or path in trees[repository]
    # What users made stays; what is made leads to files, and has a root.
    assert {row for row in before if not row[3]} <= stored
    for repository, stack_root, source_root, _ in stored - before:
        assert stack_root
        assert any(file.startswith(source_root) for file in trees[repository])
    # A second call says the same.
    assert [outcome[1:] for outcome in world.derive(frames)] == [outcome[1:] for outcome in outcomes]
    # And so does a call with the frames in another order.
    places = list(range(len(frames)))
    order.shuffle(places)
    world.store(mappings)
    shuffled = world.derive([frames[place] for place in places])
    assert dict(zip(places, shuffled, strict=True)) == dict(enumerate(outcomes))
    assert world.stored() == stored
