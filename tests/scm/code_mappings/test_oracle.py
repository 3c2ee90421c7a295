"""The rules as they are written and the rules as they run come to the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CodeMapping, Repository, db
from flask_grpcweb_scm.scm.code_mappings.frames import StackPath, UnsupportedFrame, read_path
from flask_grpcweb_scm.scm.code_mappings.roots import find_roots
from flask_grpcweb_scm.scm.code_mappings.tracebacks import parse_traceback
from tests.scm.code_mappings import oracle
from tests.scm.code_mappings.oracle import Fate, Row
from tests.scm.code_mappings.test_derive import commit_files
from tests.scm.code_mappings.test_field_cases import CASES
from tests.scm.databases import disposed
from tests.scm.support import GitRepository, Scm, Tenant, add_tenant, make_app

EXAMPLES = settings().max_examples
SEGMENTS = st.sampled_from(["a", "b", "ab", "app:", "src", "..", ".", "", "C:", "a.b", "[x]", "<y>", "http:", "é"])
NAMES = st.sampled_from(["a.py", "b.py", "ab.py", ".py", "x", "a.spec.jsx", "__init__.py"])
FILES = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(st.sampled_from(["a", "b", "ab", "src", "C:", "a.b"]), max_size=4),
    st.sampled_from(["a.py", "b.py", "ab.py", "__init__.py"]),
)
PREFIXES = st.sampled_from(
    ["", "/", "\\", "./", "../", "app:///", "app:///../", "C:\\", "C:", "//", "./../", "app:////"]
)
PATHS = st.builds(
    lambda prefix, separator, folders, name: prefix + separator.join([*folders, name]),
    PREFIXES,
    st.sampled_from(["/", "/", "/", "\\"]),
    st.lists(SEGMENTS, max_size=4),
    NAMES,
)


def read(path: str) -> StackPath | None:
    try:
        return read_path(path)
    except UnsupportedFrame:
        return None


@given(PATHS)
@settings(max_examples=6 * EXAMPLES)
def test_reading(path: str) -> None:
    reading = read(path)
    assert (reading and (reading.raw, reading.normalized, reading.stack_root)) == oracle.read_path(path)


@given(PATHS, FILES)
@settings(max_examples=10 * EXAMPLES)
@example("/a/a.py", "a/a/a.py")
@example("//a/a.py", "src/a/a.py")
@example("app:////a/a.py", "src/a/a.py")
@example("\\\\C:\\a\\a.py", "a/a.py")
def test_roots(path: str, file: str) -> None:
    reading = read(path)
    if reading is None or not oracle.match(file, reading.normalized):
        return
    roots = find_roots(reading, file)
    expected = oracle.find_roots(path, reading.stack_root, file)
    if expected is not None and not oracle.verify(path, expected, file):
        expected = None
    if expected is not None and (not path.startswith(expected[0]) or (not expected[0] and re.search(r"[/\\]", path))):
        return  # amended: no empty stack root, unless there is no folder
    assert (roots and (roots.stack_root, roots.source_root)) == expected


# The whole, over small trees whose files and folders have the same few names.

REPOSITORIES = ("acme/one", "acme/two", "acme/three")
FOLDERS = st.sampled_from(["shop", "cart", "lib", "src", "backend", "packages/x", "packages/y", "acme/shop", "http"])
CODE = st.sampled_from(["a.py", "b.py", "c.js", "main.go", "manage.py"])
JAVA = st.builds(
    lambda module, source, package, name: f"{module}{source}/java/{package}/{name}.java",
    st.sampled_from(["", "", "core/", "api/"]),
    st.sampled_from(["src/main", "src/main", "src/test"]),
    st.sampled_from(["com/acme/shop/cart", "com/acme/shop/cart/impl", "com/acme/shop/cart/spi", "com/acme"]),
    st.sampled_from(["A", "B", "C"]),
)
CUTS = st.sampled_from(["", "backend/", "backend/", "src/", "packages/x/"])
CODE_FILES = st.builds(
    lambda cut, folders, name: cut + "/".join([*folders, name]), CUTS, st.lists(FOLDERS, max_size=2), CODE
)
TREE = st.sets(st.one_of(CODE_FILES, CODE_FILES, JAVA), max_size=7)
PLACES = st.sampled_from(
    [
        "", "", "/", "/app/", "/app/", "/app/", "/srv/web/", "/home/kim/one/", "/home/kim/two/", "./", "../", "app:///",
        "C:\\work\\", "/home/kim/goapps/src/", "/app/lib/python/",
    ]
)  # fmt: skip
INSTALLED = st.sampled_from(
    [
        "/v/lib/python3.12/site-packages/", "/usr/lib/python3/dist-packages/", "C:\\Python312\\Lib\\site-packages\\",
        "/app/node_modules/@acme/one/", "/app/node_modules/@other/one/", "/app/node_modules/", "/tmp/u/pier.zip/",
    ]
)  # fmt: skip
MODULES = st.sampled_from(["/go/pkg/mod/github.com/acme/one@v1.2.3/", "/go/pkg/mod/github.com/other/one@v0.1.0/"])
# Not drawn: files of another language below Python's, which are matched like any others.
LIBRARIES = {
    "py": st.sampled_from(
        [
            "/usr/lib/python3.12/", "/opt/pypy3.10/lib/pypy3.10/", "/opt/conda/envs/ml/lib/python3.11/",
            "/root/.local/share/uv/python/cpython-3.12.1-linux-x86_64-gnu/lib/python3.12/",
            "/nix/store/0a1b-python3-3.12.1/lib/python3.12/", "C:\\Program Files\\Python312\\Lib\\",
            "/root/.pyenv/versions/3.12.1/lib/python3.12/",
        ]
    ),
    "go": st.sampled_from(
        [
            "/usr/local/go/src/net/", "/opt/homebrew/Cellar/go/1.22.1/libexec/src/net/", "C:/Program Files/Go/src/net/",
            "/go/pkg/mod/golang.org/toolchain@v0.0.1-go1.22.1.linux-amd64/src/net/", "/usr/local/go/src/",
            "/opt/homebrew/Cellar/go/1.22.1/libexec/src/", "C:\\Program Files\\Go\\src\\",
        ]
    ),
}  # fmt: skip
STACK_ROOTS = st.sampled_from(
    ["", "", "/app/", "/app", "src/", "backend/", "/srv/", "C:\\work\\", "./", "/", "com/acme/"]
)
FIELDS = ("path", "module", "abs_path", "platform")
OUTCOMES = {
    scm_pb2.PathOutcome.OUTCOME_COVERED: "mapped",
    scm_pb2.PathOutcome.OUTCOME_DERIVED: "mapped",
    scm_pb2.PathOutcome.OUTCOME_AMBIGUOUS: "ambiguous",
    scm_pb2.PathOutcome.OUTCOME_NO_MATCH: "no match",
    scm_pb2.PathOutcome.OUTCOME_UNSUPPORTED: "not ours",
}

Trees = dict[str, set[str]]
Case = tuple[Trees, list[Row], list[dict[str, str]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:  # noqa: C901  # what is drawn depends on what was drawn before
    number = draw(st.integers(1, 3))
    trees = {name: draw(TREE) if at < number else set() for at, name in enumerate(REPOSITORIES)}
    for files in trees.values():
        if draw(st.booleans()):
            files |= {file.replace("src/test/", "src/main/") for file in files}
    files = sorted(set().union(*trees.values())) or ["shop/a.py"]
    # Most frames are below a place or two, as those of one process, where some folder of the repository was copied.
    places = st.sampled_from(draw(st.lists(st.tuples(PLACES, CUTS), min_size=1, max_size=2)))

    def draw_path() -> str:
        """A file below some place, without some of its first folders; seldom one that is not there."""
        file = draw(st.one_of(st.sampled_from(files), st.sampled_from(files), st.sampled_from(files), CODE_FILES))
        parts = file.split("/")
        tail = "/".join(parts[draw(st.integers(0, max(len(parts) - 1, 0))) :] if draw(st.booleans()) else parts)
        language = tail.rpartition(".")[2]
        installed = MODULES if language == "go" else st.one_of(INSTALLED, MODULES)
        prefix: str = draw(st.one_of(PLACES, installed, LIBRARIES.get(language, PLACES)))
        if draw(st.integers(0, 3)):
            prefix, cut = draw(places)
            below = [each for each in files if each.startswith(cut)] or [file]
            # Often the file at the top, to which only other paths lead.
            top = min(below, key=lambda each: each.count("/"))
            tail = draw(st.one_of(st.sampled_from(below), st.sampled_from(below), st.just(top))).removeprefix(cut)
        return prefix + (tail.replace("/", "\\") if "\\" in prefix else tail)

    def draw_frame() -> dict[str, str]:
        kind = draw(st.sampled_from(["path", "path", "path", "path", "java", "java", "abs_path", "odd"]))
        if kind == "java":
            file = draw(JAVA if draw(st.booleans()) else st.sampled_from(files))
            package, _, name = file.partition("/java/")[2].rpartition("/")
            if package:
                module = f"{package.replace('/', '.')}.{name.removesuffix('.java')}"
                return {"module": module, "abs_path": name, "platform": "java"}
        if kind == "abs_path":
            path = draw_path()
            return {"path": re.split(r"[/\\]", path)[-1], "abs_path": path}
        if kind == "odd":
            return {"path": draw(st.sampled_from(["<frozen runpy>", "https://cdn.example/src/c.js", "/app/README"]))}
        return {"path": draw_path()}

    rows = {}
    for _ in range(draw(st.integers(0, 3))):
        stack_root, source_root = draw(st.one_of(places, st.tuples(STACK_ROOTS, CUTS)))
        folder = draw(st.sampled_from(["", "", "shop/", "cart/"]))
        if stack_root.endswith("/"):
            stack_root, source_root = stack_root + folder, source_root + folder
        source_root = draw(st.sampled_from([source_root, source_root, "", "gone/", "backend/"]))
        if stack_root == "/app" and source_root:
            source_root = source_root[:-1]
        repository = draw(st.sampled_from(REPOSITORIES[:number]))
        rows[stack_root] = Row(repository, stack_root, source_root, draw(st.booleans()))
    return trees, [*rows.values()], [draw_frame() for _ in range(draw(st.integers(1, 5)))]


class World:
    """An app with a tenant and its repositories, whose files and mappings change."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app, self.scm, self.trees = app, Scm(app), Trees()
        self.git = {name: GitRepository(folder / name) for name in REPOSITORIES}
        with app.app_context():
            db.create_all()
            self.tenant: Tenant = add_tenant("ours")
            rows = {
                name: Repository(
                    organization_id=self.tenant.organization, name=name, external_id=name, default_branch="main",
                    url=f"https://github.com/{name}.git", mirror_path=str(git.path / ".git"),
                )
                for name, git in self.git.items()
            }  # fmt: skip
            db.session.add_all(rows.values())
            db.session.commit()
            self.ids = {name: row.id for name, row in rows.items()}
            self.names = {row.id: name for name, row in rows.items()}

    def become(self, trees: Trees) -> None:
        for name, files in trees.items():
            if self.trees.get(name) != files:
                commit_files(self.git[name], sorted(files))
        self.trees = trees

    def store(self, rows: list[Row]) -> None:
        with self.app.app_context():
            db.session.execute(sa.delete(CodeMapping))
            db.session.add_all(
                CodeMapping(
                    organization_id=self.tenant.organization, project_id=self.tenant.project,
                    repository_id=self.ids[row.repository], stack_root=row.stack_root, source_root=row.source_root,
                    automatically_generated=row.generated,
                )
                for row in rows
            )  # fmt: skip
            db.session.commit()

    def derive(self, rows: list[Row], frames: list[dict[str, str]]) -> tuple[list[Fate], set[Row]]:
        self.store(rows)
        ids = {"organization_id": self.tenant.organization, "project_id": self.tenant.project}
        outcomes = self.scm("DeriveCodeMappings", **ids, frames=frames).outcomes
        fates = [Fate(OUTCOMES[x.outcome], self.names.get(x.repository_id, ""), x.source_path) for x in outcomes]
        with self.app.app_context():
            stored = {
                Row(self.names[row.repository_id], row.stack_root, row.source_root, row.automatically_generated)
                for row in db.session.scalars(sa.select(CodeMapping))
            }
        return fates, stored


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with disposed(make_app(f"sqlite:///{folder}/scm.db")) as app:
        yield World(app, folder)


def differences(world: World, case: Case) -> Iterator[str]:
    """What the rules do not allow of what the service does."""
    trees, rows, frames = case
    trees = {name: {*trees.get(name, ()), "README.md"} for name in REPOSITORIES}
    world.become(trees)
    fates, stored = world.derive(rows, frames)
    yield from departures(oracle.judge(trees, rows, frames), rows, frames, fates, stored)
    # A file that the tree does not have is never named.
    for fate in fates:
        if fate.file and fate.file not in trees[fate.repository]:
            yield f"{fate} is not there"
    backwards, same = world.derive(rows, frames[::-1])
    if backwards[::-1] != fates or same != stored:
        yield f"another order: {backwards[::-1]} for {fates}, {same} for {stored}"
    # What a text stores stands when the next comes.
    _, before = world.derive(rows, frames[:1])
    later, after = world.derive(sorted(before), frames[1:])
    for departure in departures(
        oracle.judge(trees, sorted(before), frames[1:]), sorted(before), frames[1:], later, after
    ):
        yield f"later: {departure}"


def departures(
    verdict: oracle.Verdict, rows: list[Row], frames: list[dict[str, str]], fates: list[Fate], stored: set[Row]
) -> Iterator[str]:
    for frame, fate, right in zip(frames, fates, verdict.fates, strict=True):
        # Who cannot find a file may say that it is not ours.
        if fate not in right and not (fate == oracle.NOT_OURS and oracle.NO_MATCH in right):
            yield f"{frame} is {fate}, and should be one of {right}"
    if lost := set(rows) - stored - verdict.replaceable:
        yield f"{lost} were stored and are gone"
    if excess := stored - set(rows) - verdict.permitted:
        yield f"{excess} should not be stored; permitted: {verdict.permitted}"
    for alternatives in verdict.required:
        if not alternatives & stored:
            yield f"one of {alternatives} should be stored; stored: {stored - set(rows)}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_oracle_over_cases_from_the_field(case: dict[str, Any]) -> None:
    """The oracle itself is right of frames whose files people know."""
    trees = {name: set(files) for name, files in case["repositories"].items()}
    rows = [Row(x["repository"], x["stack_root"], x["source_root"], False) for x in case.get("user_mappings", ())]
    for inputs, expected in zip(case.get("traces") or case["frames"], case["expect"], strict=True):
        if isinstance(inputs, str):
            found = [
                (str(each), each.line, {name: getattr(each.frame, name) for name in FIELDS})
                for each in parse_traceback(inputs)
            ]
        else:
            found = [(frame["path"], 0, frame) for frame in inputs]
        verdict = oracle.judge(trees, rows, [frame for _, _, frame in found])
        for place, line, _, fates in ((*each, fates) for each, fates in zip(found, verdict.fates, strict=True)):
            for wanted in expected:
                if wanted["line"] == line if "line" in wanted else wanted["frame"] in place:
                    kind = wanted["outcome"].replace("_", " ")
                    right = Fate(kind, wanted["repository"] or "", wanted["source_path"] or "")
                    assert fates in ({right}, {oracle.NOT_OURS} if kind == "no match" else {right}), place
        # What it stores is there for the next text.
        for alternatives in verdict.required:
            row = min(alternatives, key=lambda row: len(row.stack_root))
            rows += [row] if all(row.stack_root != other.stack_root for other in rows) else []


@given(cases())
@settings(
    max_examples=max(EXAMPLES // 2, 10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(
    (
        {"acme/one": {"backend/manage.py", "backend/shop/a.py"}, "acme/two": {"manage.py"}},
        [],
        [{"path": "/app/manage.py"}, {"path": "/app/shop/a.py"}, {"path": "/opt/manage.py"}],
    )
)
@example(
    (
        {"acme/one": {"shop/a.py", "manage.py"}, "acme/two": {"src/cart/b.py"}},
        [],
        [{"path": "/srv/web/shop/a.py"}, {"path": "/srv/web/cart/b.py"}, {"path": "/srv/web/manage.py"}],
    )
)
@example(
    (
        {"acme/one": {"backend/shop/a.py", "src/cart/c.js"}},
        [Row("acme/one", "/app/", "backend/", True), Row("acme/one", "/srv/", "gone/", True)],
        [{"path": "/app/shop/a.py"}, {"path": "/app/cart/c.js"}, {"path": "/srv/shop/a.py"}],
    )
)
@pytest.mark.needs("time")
def test_whole(world: World, case: Case) -> None:
    trees, _, _ = case
    assume(not any(other.startswith(f"{file}/") for tree in trees.values() for file in tree for other in tree))
    assert not list(differences(world, case))
