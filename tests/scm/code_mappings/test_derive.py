"""DeriveCodeMappings over real git repositories: what is found, what is stored, and what each path is told."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CodeMapping, Project, Repository, RepositoryStatus, db
from flask_grpcweb_scm.scm.code_mappings import derive as derivation
from tests.combinations import ON_SQLITE
from tests.scm.code_mappings.test_cases import CASES
from tests.scm.queries.plans import statements_of
from tests.scm.support import GitRepository, Scm, Tenant, set_mirror

Outcome = scm_pb2.PathOutcome
COVERED, DERIVED = Outcome.OUTCOME_COVERED, Outcome.OUTCOME_DERIVED
AMBIGUOUS, NO_MATCH, UNSUPPORTED = Outcome.OUTCOME_AMBIGUOUS, Outcome.OUTCOME_NO_MATCH, Outcome.OUTCOME_UNSUPPORTED

AddRepository = Callable[..., int]


def commit_files(repository: GitRepository, files: Iterable[str], branch: str = "main") -> None:
    """One commit with these files, all of them empty, instead of what the branch had."""
    entries = "".join(f'M 100644 inline "{file}"\ndata 0\n\n' for file in files)
    head = f"commit refs/heads/{branch}\ncommitter C <c@x> 1600000000 +0000\ndata 0\n\ndeleteall\n"
    repository.fast_import((head + entries).encode())


@pytest.fixture
def add_repository(app: Flask, ours: Tenant, tmp_path: Path) -> AddRepository:
    def add(name: str, files: Iterable[str], *, branch: str = "main", tenant: Tenant = ours) -> int:
        git = GitRepository(tmp_path / "repositories" / name)
        commit_files(git, files, branch)
        with app.app_context():
            row = Repository(
                organization_id=tenant.organization, name=name, external_id=name, default_branch=branch,
                mirror_path=str(git.path / ".git"),
            )  # fmt: skip
            db.session.add(row)
            db.session.commit()
            return row.id

    return add


def derive(scm: Scm, tenant: Tenant, *paths: str, **more: Any) -> Any:
    ids = {"organization_id": tenant.organization, "project_id": tenant.project}
    return scm("DeriveCodeMappings", **ids, stacktrace_paths=paths, **more)


def roots(mappings: Iterable[Any]) -> list[tuple[str, str]]:
    return [(mapping.stack_root, mapping.source_root) for mapping in mappings]


def stored(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        return roots(db.session.scalars(sa.select(CodeMapping).order_by(CodeMapping.id)))


def add_mapping(app: Flask, tenant: Tenant, stack_root: str, source_root: str, **more: Any) -> int:
    with app.app_context():
        values: dict[str, Any] = {"repository_id": tenant.repository, **more}
        row = CodeMapping(
            organization_id=tenant.organization, project_id=tenant.project,
            stack_root=stack_root, source_root=source_root, **values,
        )  # fmt: skip
        db.session.add(row)
        db.session.commit()
        return row.id


def frame_fields(frame: Mapping[str, Any], platform: str | None) -> dict[str, str]:
    fields = {name: frame[name] for name in ("module", "abs_path") if name in frame}
    return {**fields, "path": frame.get("filename", ""), "platform": platform or ""}


# A mapping in the database that covers a path is enough for it, so this one is only for the rules themselves.
OF_RULES_ONLY = {"java_country_code_tld_with_old_granularity", "extension_is_included"}


@pytest.mark.parametrize(
    "case", [case for case in CASES["mappings"] if case["name"] not in OF_RULES_ONLY], ids=lambda case: case["name"]
)
def test_cases(app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, case: dict[str, Any]) -> None:
    ids = {
        name: add_repository(name, files, branch=case["branch_by_repo"][name])
        for name, files in case["files_by_repo"].items()
    }
    for row in case.get("preexisting", []):
        add_mapping(app, ours, row["stack_root"], row["source_root"])
    before = len(stored(app))
    frames = [frame_fields(frame, case["platform"]) for frame in case["frames"] if frame.get("in_app", True)]
    response = derive(scm, ours, frames=frames, dry_run=case.get("platform_config_override", {}).get("dry_run", False))
    made = [mapping for mapping in response.mappings if mapping.automatically_generated]
    expected = [(ids[row["repo"]], row["branch"], row["stack_root"], row["source_root"]) for row in case["expected"]]
    assert [(m.repository_id, m.default_branch, m.stack_root, m.source_root) for m in made] == expected
    dry = "reported but not stored" in case.get("note", "")
    assert len(stored(app)) - before == (0 if dry else len(expected))


def test_derived_mappings_are_stored_as_made_automatically(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", ["src/shop/cart.py", "static/app/x.tsx"], branch="trunk")
    response = derive(scm, ours, "shop/cart.py", "./app/x.tsx")
    assert roots(response.mappings) == [("shop/", "src/shop/"), ("./", "static/")]
    assert sorted(stored(app)) == sorted(roots(response.mappings))
    with app.app_context():
        row = db.session.scalars(sa.select(CodeMapping)).first()
        assert row is not None
        facts = (row.repository_id, row.project_id, row.organization_id, row.default_branch)
        assert facts == (repository, ours.project, ours.organization, "trunk")
        assert row.automatically_generated
    ids = [mapping.id for mapping in response.mappings]
    assert [(o.outcome, o.code_mapping_id, o.source_path) for o in response.outcomes] == [
        (DERIVED, ids[0], "src/shop/cart.py"),
        (DERIVED, ids[1], "static/app/x.tsx"),
    ]
    assert [mapping.automatically_generated for mapping in response.mappings] == [True, True]


def test_a_second_call_is_covered_by_what_the_first_one_stored(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["src/shop/cart.py"])
    first = derive(scm, ours, "shop/cart.py")
    second = derive(scm, ours, "shop/cart.py", "shop/absent.py")
    assert second.mappings == first.mappings
    assert [(o.outcome, o.source_path) for o in second.outcomes] == [(COVERED, "src/shop/cart.py"), (NO_MATCH, "")]


def test_a_dry_run_stores_nothing_and_answers_id_zero(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["src/shop/cart.py"])
    response = derive(scm, ours, "shop/cart.py", dry_run=True)
    assert [(m.id, m.stack_root, m.automatically_generated) for m in response.mappings] == [(0, "shop/", True)]
    assert [(o.outcome, o.code_mapping_id) for o in response.outcomes] == [(DERIVED, 0)]
    assert stored(app) == []


def test_a_users_mapping_is_never_overwritten(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["src/shop/cart.py"])
    users = add_mapping(app, ours, "shop/", "elsewhere/")
    response = derive(scm, ours, "shop/cart.py")
    assert [(m.id, m.source_root, m.automatically_generated) for m in response.mappings] == [
        (users, "elsewhere/", False)
    ]
    assert response.outcomes[0].source_path == "elsewhere/cart.py"
    assert stored(app) == [("shop/", "elsewhere/")]


def test_stored_mappings_come_first_in_order_of_precedence(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["src/shop/cart.py", "lib/new/x.py"])
    add_mapping(app, ours, "shop/deep/", "g/", automatically_generated=True)
    add_mapping(app, ours, "shop/", "u/")
    add_mapping(app, ours, "unused/", "u/")
    response = derive(scm, ours, "new/x.py", "shop/deep/a.py", "shop/b.py")
    assert [m.stack_root for m in response.mappings] == ["shop/", "shop/deep/", "new/"]
    # A user's row goes before a generated one, though that is more specific.
    assert [o.source_path for o in response.outcomes] == ["lib/new/x.py", "u/deep/a.py", "u/b.py"]


def test_a_root_of_a_repository_that_is_being_deleted_is_not_taken_over(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["src/shop/cart.py"])
    add_mapping(app, ours, "shop/", "old/")
    with app.app_context():
        db.session.get_one(Repository, ours.repository).status = RepositoryStatus.PENDING_DELETION
        db.session.commit()
    response = derive(scm, ours, "shop/cart.py")
    assert not response.mappings
    assert stored(app) == [("shop/", "old/")]
    assert [(o.outcome, o.code_mapping_id, o.source_path) for o in response.outcomes] == [
        (DERIVED, 0, "src/shop/cart.py")
    ]


OUTCOMES = [
    ("shop/cart.py", DERIVED, "src/shop/cart.py", "it is src/shop/cart.py in monolith"),
    ("shop/gone.py", NO_MATCH, "", "no source file of 2 repositories ends with shop/gone.py"),
    ("/usr/lib/python3.11/shop/cart.py", UNSUPPORTED, "", "it is in Python's own library"),
    ("/venv/lib/python3.11/site-packages/x/y.py", UNSUPPORTED, "", "it is in an installed package"),
    ("utils.py", AMBIGUOUS, "", "it could be a/utils.py, b/utils.py or c/utils.py in monolith"),
    ("__init__.py", AMBIGUOUS, "", "it could be a/__init__.py, b/__init__.py, c/__init__.py or 1 more in monolith"),
    ("both/x.py", AMBIGUOUS, "", "it could be both/x.py in monolith or pkg/both/x.py in other"),
    ("absent/x.py", NO_MATCH, "", "no source file of 2 repositories ends with absent/x.py"),
    ("x/tests/test_a.py", NO_MATCH, "", "no source file"),
    ("docs/README.md", NO_MATCH, "", "no source file"),
    ("", UNSUPPORTED, "", "it is empty"),
    ("/", UNSUPPORTED, "", "it is empty"),
    ("../", UNSUPPORTED, "", "it is empty"),
    ("/usr/bin/gunicorn", UNSUPPORTED, "", "it has no file extension"),
    ("<frozen importlib._bootstrap>", UNSUPPORTED, "", "the runtime made it"),
    ("[native code]", UNSUPPORTED, "", "the runtime made it"),
    ("https://cdn.example/app.js", UNSUPPORTED, "", "it is a URL"),
    ("shop/\0cart.py", UNSUPPORTED, "", "it has control characters"),
]


def test_every_path_has_an_outcome_with_a_reason(scm: Scm, ours: Tenant, add_repository: AddRepository) -> None:
    names = [f"{folder}/{name}" for folder in "abc" for name in ("utils.py", "__init__.py")]
    add_repository("monolith", ["src/shop/cart.py", "both/x.py", "d/__init__.py", "tests/test_a.py", *names])
    add_repository("other", ["pkg/both/x.py"])
    for path, outcome, source_path, reason in OUTCOMES:
        # With one that is found, which must not cover the others.
        answer = derive(scm, ours, path, "shop/cart.py", dry_run=True).outcomes[0]
        assert (answer.path, answer.outcome, answer.source_path) == (path, outcome, source_path)
        assert reason in answer.reason


# Files of repositories, paths, and what is stored: a repository's name, and the roots.
APART = [
    # Two folders of a home.
    ({"m": ["one/a.py", "two/b.py"]}, ["/Users/ann/one/a.py", "/Users/bob/two/b.py", "/Users/eve/three/c.py"],
     {("m", "/Users/ann/", ""), ("m", "/Users/bob/", "")}),
    ({"one": ["src/a.ts"], "two": ["pkg/b.py"]}, ["/home/kim/one/src/a.ts", "/home/kim/two/pkg/b.py"],
     {("one", "/home/kim/one/", ""), ("two", "/home/kim/two/", "")}),
    # The shortest folder that tells two origins apart.
    ({"m": ["a/ns/x/p.py", "b/ns/y/q.py"]}, ["ns/x/p.py", "ns/y/q.py"],
     {("m", "ns/x/", "a/ns/x/"), ("m", "ns/y/", "b/ns/y/")}),
    ({"m": ["a/ns/c/x/p.py", "b/ns/c/y/q.py", "a/ns/d/r.py"]}, ["ns/c/x/p.py", "ns/c/y/q.py", "ns/d/r.py"],
     {("m", "ns/c/x/", "a/ns/c/x/"), ("m", "ns/c/y/", "b/ns/c/y/"), ("m", "ns/d/", "a/ns/d/")}),
    ({"one": ["ns/p.py"], "two": ["src/ns/sub/q.py"]}, ["ns/p.py", "ns/sub/q.py"],
     {("one", "ns/", "ns/"), ("two", "ns/sub/", "src/ns/sub/")}),
    # No folder does: neither is stored, but for what src/main/ has.
    ({"m": ["a/ns/p.py", "b/ns/q.py"]}, ["ns/p.py", "ns/q.py"], set()),
    ({"m": ["src/main/ns/A.kt", "src/test/ns/ATest.kt"]}, ["ns/A.kt", "ns/ATest.kt"],
     {("m", "ns/", "src/main/ns/")}),
    ({"m": ["src/main/ns/A.kt", "src/test/ns/ATest.kt"]}, ["ns/ATest.kt"], {("m", "ns/", "src/test/ns/")}),
    # Nothing is stored for the name of a file.
    ({"m": ["lib/a.py", "src/b.py"]}, ["a.py", "b.py"], set()),
    # A relative path keeps its first folder.
    ({"m": ["src/a.py", "lib/b.py"]}, ["src/a.py", "lib/b.py"], {("m", "src/", "src/"), ("m", "lib/", "lib/")}),
    ({"m": ["pkg/src/a.cs"]}, ["src\\a.cs"], {("m", "src\\", "pkg/src/")}),
    # A container's layout, and a file below a root that others lead to.
    ({"m": ["back/shop/a.py", "back/manage.py"]}, ["/app/shop/a.py", "/app/manage.py"], {("m", "/app/", "back/")}),
    ({"m": ["back/shop/a.py", "back/manage.py", "front/ui/b.ts"]},
     ["/app/shop/a.py", "/app/manage.py", "/app/ui/b.ts"],
     {("m", "/app/", "back/"), ("m", "/app/shop/", "back/shop/"), ("m", "/app/ui/", "front/ui/")}),
    # The longest common end decides.
    ({"m": ["x/b/c/d.py", "y/c/d.py"]}, ["/a/b/c/d.py"], {("m", "/a/", "x/")}),
    # Which of two is said by another frame.
    ({"m": ["one/shop/a.py", "two/shop/a.py", "one/shop/b.py"]}, ["/app/shop/a.py", "/app/shop/b.py"],
     {("m", "/app/", "one/")}),
    # Installed packages have the folder of the package in their roots.
    ({"m": ["src/acme/a.py"]}, ["/v/lib/python3.12/site-packages/acme/a.py"],
     {("m", "/v/lib/python3.12/site-packages/acme/", "src/acme/")}),
    ({"acme/ui": ["src/K.tsx"]}, ["/app/node_modules/@acme/ui/src/K.tsx"],
     {("acme/ui", "/app/node_modules/@acme/ui/", "")}),
    ({"acme/mono": ["packages/ui/src/K.tsx"]}, ["/app/node_modules/@acme/ui/src/K.tsx"],
     {("acme/mono", "/app/node_modules/@acme/ui/", "packages/ui/")}),
    ({"acme/mono": ["libs/log/log.go"]}, ["/go/pkg/mod/github.com/acme/mono/libs/log@v1.2.3/log.go"],
     {("acme/mono", "/go/pkg/mod/github.com/acme/mono/libs/log@v1.2.3/", "libs/log/")}),
]  # fmt: skip


@ON_SQLITE
@pytest.mark.parametrize(("files", "paths", "expected"), APART)
def test_each_origin_has_the_shortest_root_of_its_own_in_any_order(
    app: Flask,
    scm: Scm,
    ours: Tenant,
    add_repository: AddRepository,
    files: dict[str, list[str]],
    paths: list[str],
    expected: set[tuple[str, str, str]],
) -> None:
    names = {add_repository(name, its): name for name, its in files.items()}
    outcomes = {}
    for order in itertools.permutations(paths):
        response = derive(scm, ours, *order, dry_run=True)
        found = {(names[m.repository_id], m.stack_root, m.source_root) for m in response.mappings}
        assert (found, len(response.mappings)) == (expected, len(expected))
        for outcome in response.outcomes:
            what = (outcome.outcome, outcome.repository_id, outcome.source_path)
            assert outcomes.setdefault(outcome.path, what) == what
            assert outcome.source_path in [*files.get(names.get(outcome.repository_id, ""), []), ""]
    # A later call has the same files, of what was stored.
    derive(scm, ours, *paths)
    for outcome in derive(scm, ours, *paths).outcomes:
        assert (outcome.repository_id, outcome.source_path) == outcomes[outcome.path][1:]


@pytest.mark.parametrize("platform", ["java", "Java-Spring-Boot", "android", "other", ""])
def test_the_platform_of_the_project_is_that_of_frames_without_one(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, platform: str
) -> None:
    add_repository("monolith", ["src/com/shop/Cart.java", "lib/com/other/Cart.java"])
    with app.app_context():
        db.session.get_one(Project, ours.project).platform = platform
        db.session.commit()
    frame = {"path": "Cart.java", "module": "com.shop.Cart$Item", "abs_path": "Cart.java"}
    assert roots(derive(scm, ours, frames=[frame]).mappings) == [("com/shop/", "src/com/shop/")]


@ON_SQLITE
@pytest.mark.parametrize(
    ("frame", "file", "stack_root"),
    [
        # A path with folders says more than a module without a file.
        ({"path": "shop/Cart.java", "platform": "java"}, "src/shop/Cart.java", "shop/"),
        ({"path": "Cart.java", "module": "com.shop.Cart", "platform": "java"}, "src/Cart.java", None),
        ({"path": "x.py", "module": "pkg.x", "abs_path": "x.py", "platform": "python"}, "src/x.py", None),
        ({"module": "pkg.x", "abs_path": "/srv/pkg/x.py"}, "pkg/x.py", "/srv/"),
        ({"module": "com.shop.Cart", "abs_path": "Cart.java"}, "src/com/shop/Cart.java", "com/shop/"),
        ({"path": "Cart.java", "module": "com.shop.Cart", "platform": "java"}, "src/com/shop/Cart.java", "com/shop/"),
        ({"module": "Cart", "abs_path": "Cart.java"}, "src/Cart.java", None),
        ({"abs_path": "/srv/pkg/x.py"}, "pkg/x.py", "/srv/"),
        ({}, "src/x.py", None),
    ],
)
def test_which_of_its_texts_says_where_a_frame_is(
    scm: Scm, ours: Tenant, add_repository: AddRepository, frame: dict[str, str], file: str, stack_root: str | None
) -> None:
    add_repository("monolith", [file])
    found = [mapping.stack_root for mapping in derive(scm, ours, frames=[frame]).mappings]
    assert found == ([] if stack_root is None else [stack_root])


def test_a_frame_is_covered_by_its_absolute_path_too(app: Flask, scm: Scm, ours: Tenant) -> None:
    add_mapping(app, ours, "/srv/app/", "src/")
    frames = [{"path": "x.py", "abs_path": "/srv/app/x.py", "platform": "python"}]
    outcome = derive(scm, ours, frames=frames).outcomes[0]
    assert (outcome.path, outcome.outcome, outcome.source_path) == ("x.py", COVERED, "src/x.py")


def test_paths_come_before_frames_in_outcomes(scm: Scm, ours: Tenant) -> None:
    response = derive(scm, ours, "a.py", "b.py", frames=[{"path": "c.py"}, {"module": "d.E"}])
    assert [o.path for o in response.outcomes] == ["a.py", "b.py", "c.py", "d.E"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"stacktrace_paths": ["x.py"] * 1001}, "stacktrace_paths"),
        ({"frames": [{"path": "x.py"}] * 1001}, "frames"),
        ({"stacktrace_paths": ["x" * 4097]}, "stacktrace_paths"),
        ({"frames": [{"module": "x" * 4097}]}, "frames"),
    ],
)
def test_too_many_paths_and_too_long_ones_are_invalid(
    scm: Scm, ours: Tenant, fields: dict[str, Any], field: str
) -> None:
    ids = {"organization_id": ours.organization, "project_id": ours.project}
    error = scm.error(StatusCode.INVALID_ARGUMENT, "DeriveCodeMappings", **ids, **fields)
    assert [violation.field for violation in error.details[0].field_violations] == [field]  # type: ignore[attr-defined]


def test_roots_that_would_not_fit_make_no_mapping(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["src/x.py"])
    outcome = derive(scm, ours, f"/{'a' * 520}/src/x.py").outcomes[0]
    assert (outcome.outcome, stored(app)) == (NO_MATCH, [])
    assert "more than 512 characters" in outcome.reason


def test_reasons_are_short_whatever_the_paths_are(scm: Scm, ours: Tenant, add_repository: AddRepository) -> None:
    add_repository("monolith", [f"{'d' * 200}/{'e' * 200}/{'f' * 200}/{folder}/x.py" for folder in "abcd"])
    response = derive(scm, ours, *["x.py"] * 500, *[f"{'y/' * 2000}{number}.py" for number in range(500)])
    assert len(response.outcomes) == 1000
    assert max(len(outcome.reason) for outcome in response.outcomes) <= 1001


def test_many_mappings_at_once(app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository) -> None:
    add_repository("monolith", [f"src/p{number}/m{number}.py" for number in range(1000)])
    response = derive(scm, ours, *[f"p{number}/m{number}.py" for number in range(1000)])
    assert [mapping.stack_root for mapping in response.mappings] == [f"p{number}/" for number in range(1000)]
    assert len(stored(app)) == 1000


def test_an_empty_root_covers_no_frame_without_a_path(app: Flask, scm: Scm, ours: Tenant) -> None:
    add_mapping(app, ours, "", "src/")
    response = derive(scm, ours, "", "x", frames=[{"module": "NoPackage", "abs_path": "No.java", "platform": "java"}])
    assert [o.outcome for o in response.outcomes] == [UNSUPPORTED, COVERED, UNSUPPORTED]


def test_a_repository_that_cannot_be_read_does_not_keep_others_from_it(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, tmp_path: Path
) -> None:
    add_repository("monolith", ["src/shop/cart.py"])
    set_mirror(app, ours.repository, tmp_path / "gone")
    response = derive(scm, ours, "shop/cart.py", "absent.py")
    assert roots(response.mappings) == [("shop/", "src/shop/")]
    assert "ours/repository could not be searched: the git mirror" in response.outcomes[1].reason
    assert str(tmp_path) not in str(response)


def test_only_active_repositories_of_the_organization_are_searched(
    app: Flask, scm: Scm, ours: Tenant, theirs: Tenant, add_repository: AddRepository
) -> None:
    disabled = add_repository("disabled", ["src/shop/cart.py"])
    add_repository("foreign", ["lib/shop/cart.py"], tenant=theirs)
    with app.app_context():
        db.session.get_one(Repository, disabled).status = RepositoryStatus.DISABLED
        db.session.commit()
    response = derive(scm, ours, "shop/cart.py")
    assert not response.mappings
    assert response.outcomes[0].reason == "there is no repository to search"


def test_mappings_of_a_disabled_repository_lead_to_files_that_are_there(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    old = add_repository("old", ["manage.py", "shop/cart.py"])
    derive(scm, ours, "/app/shop/cart.py")
    add_repository("new", ["backend/shop/tax.py"])
    with app.app_context():
        db.session.get_one(Repository, old).status = RepositoryStatus.DISABLED
        db.session.execute(sa.update(CodeMapping).values(stack_root="/app/shop/", source_root="shop/"))
        db.session.commit()
    response = derive(scm, ours, "/app/shop/cart.py", "/app/shop/tax.py", "/app/shop/gone.py", "/app/manage.py")
    assert [outcome.source_path for outcome in response.outcomes] == ["shop/cart.py", "backend/shop/tax.py", "", ""]


def test_empty_repositories_and_other_branches_are_not_searched(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, tmp_path: Path
) -> None:
    empty = GitRepository(tmp_path / "empty")
    set_mirror(app, ours.repository, empty.path / ".git")
    assert derive(scm, ours, "shop/cart.py").outcomes[0].outcome == NO_MATCH
    repository = add_repository("monolith", ["src/shop/cart.py"])
    with app.app_context():
        db.session.get_one(Repository, repository).default_branch = "absent"
        db.session.commit()
    reason = derive(scm, ours, "shop/cart.py").outcomes[0].reason
    assert "monolith could not be searched: the repository has no branch 'absent'" in reason


def test_a_new_commit_is_seen_at_once(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    git = GitRepository(tmp_path / "git")
    commit_files(git, ["src/shop/cart.py"])
    set_mirror(app, ours.repository, git.path / ".git")
    assert derive(scm, ours, "shop/cart.py", dry_run=True).outcomes[0].source_path == "src/shop/cart.py"
    commit_files(git, ["lib/shop/cart.py"])
    assert derive(scm, ours, "shop/cart.py", dry_run=True).outcomes[0].source_path == "lib/shop/cart.py"


def test_files_that_are_no_text_and_submodules_do_no_harm(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    git = GitRepository(tmp_path / "git")
    names = (b"caf\\351/x.py", b"a\\nb/y.py", b"src/ok/z.py")
    git.fast_import(
        b"commit refs/heads/main\ncommitter C <c@x> 1600000000 +0000\ndata 0\n\n"
        + f"M 160000 {'1' * 40} module.py\n".encode()
        + b"".join(b'M 100644 inline "%s"\ndata 0\n\n' % name for name in names)
    )
    set_mirror(app, ours.repository, git.path / ".git")
    outcomes = derive(scm, ours, "ok/z.py", "x.py", "module.py").outcomes
    assert [o.outcome for o in outcomes] == [DERIVED, NO_MATCH, NO_MATCH]


def test_calls_that_race_make_one_row(app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository) -> None:
    add_repository("monolith", [f"src/package{number}/x.py" for number in range(5)])
    barrier = threading.Barrier(8)

    def run(number: int) -> list[int]:
        paths = [f"package{(number + step) % 5}/x.py" for step in range(5)]
        barrier.wait(30)
        return sorted(mapping.id for mapping in derive(scm, ours, *paths).mappings)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(run, range(8)))
    assert len(stored(app)) == 5
    assert answers == [answers[0]] * 8


def test_a_stored_root_stays_while_it_leads_anywhere_and_paths_that_need_another_get_a_longer_one(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    add_repository("monolith", ["back/shop/a.py", "back/manage.py", "front/ui/b.ts"])
    derive(scm, ours, "/app/shop/a.py")
    derive(scm, ours, "/app/ui/b.ts")
    assert stored(app) == [("/app/", "back/"), ("/app/ui/", "front/ui/")]
    response = derive(scm, ours, "/app/shop/a.py", "/app/ui/b.ts", "/app/manage.py", "/app/ui/gone.ts")
    assert [o.source_path for o in response.outcomes] == ["back/shop/a.py", "front/ui/b.ts", "back/manage.py", ""]


def test_a_path_is_tied_by_one_that_a_longer_root_covers(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", ["back/shop/a.py", "back/manage.py"])
    add_mapping(app, ours, "/app/shop/", "back/shop/", repository_id=repository)
    assert derive(scm, ours, "/app/manage.py", dry_run=True).outcomes[0].outcome == NO_MATCH
    outcomes = derive(scm, ours, "/app/manage.py", "/app/shop/a.py").outcomes
    assert [o.source_path for o in outcomes] == ["back/manage.py", "back/shop/a.py"]
    assert stored(app) == [("/app/shop/", "back/shop/"), ("/app/", "back/")]


@pytest.mark.parametrize("generated", [True, False])
def test_a_generated_root_is_replaced_when_no_file_is_below_it(
    app: Flask,
    scm: Scm,
    ours: Tenant,
    add_repository: AddRepository,
    caplog: pytest.LogCaptureFixture,
    generated: bool,
) -> None:
    repository = add_repository("monolith", ["new/shop/a.py", "new/shop/b/c.py"])
    old = add_mapping(app, ours, "/app/", "old/", repository_id=repository, automatically_generated=generated)
    with caplog.at_level("INFO"):
        response = derive(scm, ours, "/app/shop/a.py")
    assert response.outcomes[0].source_path == "new/shop/a.py"
    if generated:
        assert stored(app) == [("/app/", "new/")]
        assert f"code mapping {old} of project" in caplog.text
        assert "is replaced: no file of repository" in caplog.text
    else:
        assert stored(app) == [("/app/", "old/"), ("/app/shop/", "new/shop/")]
        assert "is replaced" not in caplog.text


def test_a_generated_mapping_leads_to_a_test_that_the_path_names(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    path = "java/com/acme/A.java"
    repository = add_repository("one", [f"src/main/{path}", f"src/test/{path}"])
    add_repository("two", [f"src/test/{path}"])
    add_mapping(app, ours, "/app/", "", repository_id=repository, automatically_generated=True)
    (outcome,) = derive(scm, ours, f"/app/src/test/{path}").outcomes
    assert (outcome.repository_id, outcome.source_path) == (repository, f"src/test/{path}")


@pytest.mark.parametrize(("path", "root"), [("./x.py", []), ("app:///x.py", []), ("./b/x.py", [("./", "a/")])])
def test_a_name_alone_makes_no_root(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, path: str, root: list[tuple[str, str]]
) -> None:
    add_repository("monolith", ["a/b/x.py"])
    assert derive(scm, ours, path).outcomes[0].source_path == "a/b/x.py"
    assert stored(app) == root


def test_a_dry_run_replaces_nothing(app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository) -> None:
    repository = add_repository("monolith", ["new/shop/a.py"])
    add_mapping(app, ours, "/app/", "old/", repository_id=repository, automatically_generated=True)
    response = derive(scm, ours, "/app/shop/a.py", dry_run=True)
    assert roots(response.mappings) == [("/app/", "new/")]
    assert stored(app) == [("/app/", "old/")]


def test_the_branch_of_a_mapping_says_which_tree_has_the_file(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, tmp_path: Path
) -> None:
    repository = add_repository("monolith", ["src/a.py"])
    commit_files(GitRepository(tmp_path / "repositories/monolith"), ["next/a.py"], "next")
    add_mapping(app, ours, "/app/", "next/", repository_id=repository, default_branch="next")
    outcome = derive(scm, ours, "/app/a.py").outcomes[0]
    assert (outcome.outcome, outcome.source_path, outcome.branch) == (COVERED, "next/a.py", "next")


@ON_SQLITE
@pytest.mark.parametrize(
    "path",
    ["/src/a.py", "C:\\src\\a.py", "\\src\\a.py", "https://x.example/src/a.py", "<frozen src/a.py>", "~/src/a.py"],
)
def test_an_empty_root_covers_relative_paths_alone(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository, path: str
) -> None:
    users = add_mapping(app, ours, "", "", repository_id=add_repository("monolith", ["src/a.py", "conf/x.yaml"]))
    response = derive(scm, ours, path, "src/a.py", "./src/a.py", "conf/x.yaml", "src/b.py", dry_run=True)
    assert [o.code_mapping_id for o in response.outcomes] == [0, users, users, users, 0]
    found = [o.source_path for o in response.outcomes][1:]
    assert found == ["src/a.py", "src/a.py", "conf/x.yaml", ""]


def test_a_generated_mapping_covers_no_library_and_a_users_does(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", ["src/lib/python3.12/json/decoder.py"])
    path = "/usr/lib/python3.12/json/decoder.py"
    add_mapping(app, ours, "/usr/", "src/", repository_id=repository, automatically_generated=True)
    assert derive(scm, ours, path).outcomes[0].outcome == UNSUPPORTED
    add_mapping(app, ours, "/usr/lib/", "src/lib/", repository_id=repository)
    assert derive(scm, ours, path).outcomes[0].outcome == COVERED


def test_where_a_file_is_has_the_address_of_its_page(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", ["src/a b.py"])
    with app.app_context():
        row = db.session.get_one(Repository, repository)
        row.url, row.provider = "git@github.com:acme/monolith.git", "integrations:github"
        db.session.commit()
    for _ in range(2):
        outcome = derive(scm, ours, "/app/src/a b.py").outcomes[0]
        assert (outcome.repository_id, outcome.branch) == (repository, "main")
        assert outcome.source_url == "https://github.com/acme/monolith/blob/main/src/a%20b.py"


def test_a_user_who_races_with_it_gets_the_row_or_hears_that_it_exists(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", ["src/shop/cart.py"])
    users = {"organization_id": ours.organization, "project_id": ours.project, "repository_id": repository}
    barrier = threading.Barrier(6)

    def run(number: int) -> tuple[bool, str]:
        barrier.wait(30)
        if number % 2:
            response = derive(scm, ours, "shop/cart.py")
            assert response.outcomes[0].source_path == "src/shop/cart.py"
            return False, "".join(mapping.source_root for mapping in response.mappings)
        try:
            return True, scm("CreateCodeMapping", **users, stack_root="shop/", source_root="by/user/").source_root
        except RpcError as error:
            return True, error.code.name

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(run, range(6)))
    [(_, source_root)] = stored(app)
    # Where the user's leads to no file it covers nothing.
    assert {answer for user, answer in answers if not user} == ({source_root} - {"by/user/"} or {""})
    refused = [answer for user, answer in answers if user].count("ALREADY_EXISTS")
    assert refused == (2 if source_root == "by/user/" else 3)


def test_the_deadline_is_kept(app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository) -> None:
    add_repository("monolith", ["src/shop/cart.py"])
    ids = {"organization_id": ours.organization, "project_id": ours.project}
    scm.error(StatusCode.DEADLINE_EXCEEDED, "DeriveCodeMappings", **ids, stacktrace_paths=["shop/cart.py"], timeout=0)
    assert stored(app) == []


@pytest.mark.parametrize("limit", [0, 3, 20_000])
def test_the_same_mappings_cover_few_paths_and_very_many(
    app: Flask, scm: Scm, ours: Tenant, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(derivation, "MAX_ROOTS", limit)
    for root in ("/srv/app/", "/srv", "/other/", ""):
        add_mapping(app, ours, root, "")
    response = derive(scm, ours, "/srv/app/x.py", "/srv/y.py", "/srv/app\0/z.py", "x.py")
    assert [mapping.stack_root for mapping in response.mappings] == ["/srv/app/", "/srv", ""]
    assert [outcome.source_path for outcome in response.outcomes] == ["x.py", "y.py", "app\0/z.py", "x.py"]


def test_repositories_of_an_integration_without_settings_are_not_searched(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    searched = add_repository("monolith", ["shop/cart.py"])
    with app.app_context():
        rows = [
            Repository(organization_id=ours.organization, name="r", external_id=f"{n}", integration_id=ours.integration)
            for n in range(50)
        ]
        db.session.add_all(rows)
        db.session.commit()
    assert len(statements_of(app, lambda: derive(scm, ours, "/srv/shop/cart.py", dry_run=True))) < 10
    assert [mapping.repository_id for mapping in derive(scm, ours, "/srv/shop/cart.py").mappings] == [searched]
