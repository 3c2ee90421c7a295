"""FindSuspectCommits over real git repositories: who is suspected, and what becomes of each frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import Identity, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CodeMapping, Commit, CommitAuthor, CommitFileChange, Project, Repository, db
from tests.combinations import ON_SQLITE
from tests.scm.queries.plans import statements_of
from tests.scm.support import GitRepository, Scm, Tenant, add_tenant

Outcome = scm_pb2.PathOutcome
CART = "def total(items):\n    return sum(items)\n\n\ndef mean(items):\n    return total(items) / len(items)\n"
VIEWS = "def show(cart):\n    return mean(cart)\n"


class Shop:
    """A repository in which one commit breaks a line, and others come after it."""

    def __init__(self, path: Path) -> None:
        self.git = GitRepository(path)
        self.git.write("shop/cart.py", CART)
        self.git.write("shop/views.py", VIEWS)
        self.first = self.git.commit("import")
        self.git.write("shop/cart.py", CART.replace("sum(items)", "sum(items) / 0"))
        self.culprit = self.git.commit("faster totals\n\nThey are faster.", name="Bob", email="Bob@Example.com")
        self.git.write("shop/views.py", VIEWS.replace("mean(cart)", "mean(cart) or 0"))
        broken = (self.git.path / "shop/cart.py").read_text()
        self.git.write("shop/cart.py", broken.replace("len(items)", "(len(items) or 1)"))
        self.decoy = self.git.commit("tidy")
        self.git.write("README", "new\n")
        self.tip = self.git.commit("newest", name="Eve", email="eve@example.com")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture
def served(app: Flask, ours: Tenant, shop: Shop) -> int:
    """The id of the repository."""
    return add(app, ours, "acme/shop", shop.git)


def add(app: Flask, tenant: Tenant, name: str, git: GitRepository | None, **columns: Any) -> int:
    with app.app_context():
        row = Repository(
            organization_id=tenant.organization, name=name, external_id=name, provider="github",
            url=f"https://github.com/{name}.git", mirror_path=git and str(git.path / ".git"), **columns,
        )  # fmt: skip
        db.session.add(row)
        db.session.commit()
        return row.id


TRACE = """\
Traceback (most recent call last):
  File "/app/shop/views.py", line 2, in show
    return mean(cart)
  File "/app/shop/cart.py", line 6, in mean
    return total(items) / len(items)
  File "/app/shop/cart.py", line 2, in total
    return sum(items) / 0
  File "/usr/lib/python3.12/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
ZeroDivisionError: division by zero
"""
FRAMES = [
    {"path": "/app/shop/views.py", "function": "show", "line": 2},
    {"path": "/app/shop/cart.py", "function": "mean", "line": 6},
    {"path": "/app/shop/cart.py", "function": "total", "line": 2},
]


def find(scm: Scm, tenant: Tenant, **fields: Any) -> Any:
    return scm("FindSuspectCommits", organization_id=tenant.organization, project_id=tenant.project, **fields)


def error(scm: Scm, code: StatusCode, tenant: Tenant, **fields: Any) -> Any:
    ids = {"organization_id": tenant.organization, "project_id": tenant.project}
    return scm.error(code, "FindSuspectCommits", **{**ids, **fields})


def reasons(response: Any) -> list[str]:
    return [frame.no_suspect_reason for frame in response.frames]


# --- Who is suspected ---


@pytest.mark.parametrize("how", ["stacktrace", "frames"])
def test_from_a_trace_to_the_commit_that_broke_the_line(
    scm: Scm, ours: Tenant, served: int, shop: Shop, how: str
) -> None:
    response = find(scm, ours, **({"stacktrace": TRACE} if how == "stacktrace" else {"frames": FRAMES}))
    assert [suspect.commit_id for suspect in response.suspects] == [shop.culprit, shop.decoy]
    first, second = response.suspects
    assert (first.subject, first.author.name, first.author.email) == ("faster totals", "Bob", "bob@example.com")
    assert first.date.ToJsonString() == "2020-09-13T14:26:40Z"
    assert first.url == f"https://github.com/acme/shop/commit/{shop.culprit}"
    assert (list(first.frames), list(second.frames)) == ([2], [1, 0])
    assert first.score > 2 * second.score > 0
    assert "line 2 of shop/cart.py (frame 2), the nearest to the failure, " in first.reason
    assert (
        "line 6 of shop/cart.py (frame 1) and line 2 of shop/views.py (frame 0), 1 line behind the nearest"
        in second.reason
    )
    frame = response.frames[2]
    assert (frame.frame.function, frame.frame.line, frame.frame.in_app) == ("total", 2, True)
    assert (frame.path.outcome, frame.path.source_path) == (Outcome.OUTCOME_DERIVED, "shop/cart.py")
    assert (frame.path.repository_id, frame.path.branch, frame.commit_id) == (served, "main", shop.tip)
    assert frame.source_url == f"https://github.com/acme/shop/blob/{shop.tip}/shop/cart.py#L2"
    assert (frame.blame.blame_commit_id, frame.blame.line_number, frame.code) == (shop.culprit, 2, 0)
    assert "sum(items) / 0" in frame.blame.code_snippet
    assert reasons(response) == ["", "", "", *(["Python's own library"] if how == "stacktrace" else [])]
    if how == "stacktrace":
        assert response.frames[3].frame.in_app is False
        assert response.frames[3].path.outcome == Outcome.OUTCOME_UNSUPPORTED


def test_the_same_again_uses_the_mapping_that_was_stored(
    app: Flask, scm: Scm, ours: Tenant, served: int, shop: Shop
) -> None:
    dry = find(scm, ours, frames=FRAMES, dry_run=True)
    with app.app_context():
        assert db.session.scalars(sa.select(CodeMapping)).all() == []
    found = find(scm, ours, frames=FRAMES)
    again = find(scm, ours, frames=FRAMES)
    with app.app_context():
        assert db.session.scalars(sa.select(CodeMapping.stack_root)).all() == ["/app/"]
    for response in (dry, found, again):
        assert [suspect.commit_id for suspect in response.suspects] == [shop.culprit, shop.decoy]
    assert {frame.path.outcome for frame in again.frames} == {Outcome.OUTCOME_COVERED}
    assert {frame.path.code_mapping_id for frame in dry.frames} == {0}


def test_what_ran_decides_about_the_lines(scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    for sha in (shop.culprit, shop.culprit[:7], shop.culprit.upper()):
        response = find(scm, ours, frames=FRAMES, release_commits=[{"repository_id": served, "commit_sha": sha}])
        assert [suspect.commit_id for suspect in response.suspects] == [shop.culprit, shop.first]
        assert {frame.commit_id for frame in response.frames} == {shop.culprit}


def test_what_ran_decides_about_the_files(app: Flask, scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    """The newest files are elsewhere, and one of them has a name that another one had."""
    shop.git.git("mv", "shop", "store")
    shop.git.write("store/views.py", "import cart\n")
    shop.git.write("other/shop/views.py", VIEWS)
    newest = shop.git.commit("move")
    for sha in (shop.tip, shop.tip[:9]):
        response = find(scm, ours, frames=FRAMES, release_commits=[{"repository_id": served, "commit_sha": sha}])
        assert [frame.path.source_path for frame in response.frames] == ["shop/views.py", *["shop/cart.py"] * 2]
        assert response.suspects[0].commit_id == shop.culprit
    # What is stored leads to what there is now.
    with app.app_context():
        assert db.session.scalars(sa.select(CodeMapping.source_root)).all() in ([], ["other/"])
    response = find(scm, ours, frames=FRAMES, release_commits=[{"repository_id": served, "commit_sha": "f" * 40}])
    assert {suspect.commit_id for suspect in response.suspects} <= {newest}


def test_no_suspect_is_younger_than_the_error_or_too_old(scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    request = scm_pb2.FindSuspectCommitsRequest()
    request.first_seen.FromDatetime(datetime(2020, 9, 13, 15, tzinfo=timezone.utc))  # before the decoy
    response = find(scm, ours, frames=FRAMES, first_seen=request.first_seen)
    assert [suspect.commit_id for suspect in response.suspects] == [shop.culprit]
    assert response.suspects[0].age.ToTimedelta() == timedelta(minutes=33, seconds=20)
    assert response.suspects[0].reason.endswith("less than 2 hours before the error was seen first")
    assert [reason[:40] for reason in reasons(response)] == ["the commit, of 2020-09-13, is younger th"] * 2 + [""]
    request.max_age.FromTimedelta(timedelta(minutes=33))
    response = find(scm, ours, frames=FRAMES, first_seen=request.first_seen, max_age=request.max_age)
    assert list(response.suspects) == []
    assert "older than max_age allows" in response.frames[2].no_suspect_reason
    assert response.frames[2].blame.blame_commit_id == shop.culprit
    request.first_seen.FromDatetime(datetime(1999, 1, 1, tzinfo=timezone.utc))
    assert list(find(scm, ours, frames=FRAMES, first_seen=request.first_seen).suspects) == []


def test_moves_and_whitespace_are_looked_through_unless_options_say_otherwise(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path
) -> None:
    git = GitRepository(tmp_path / "moved")
    long = "    return [item for item in items if item.price is not None and item.count]\n"
    other = "".join(f"def f{number}():\n    return {number}\n" for number in range(9))
    git.write("shop/cart.py", f"def keep(items):\n{long}\n\n{other}")
    made = git.commit()
    git.write("shop/cart.py", f"{other}\n\ndef keep(items):\n{long}")
    moved = git.commit()
    git.write("shop/cart.py", f"{other}\n\ndef keep(items):\n    {long}")
    indented = git.commit()
    add(app, ours, "acme/moved", git)
    frames = [{"path": "/app/shop/cart.py", "line": 22}]
    for options, expected in ((None, made), ({}, indented), ({"ignore_whitespace": True}, moved)):
        response = find(scm, ours, frames=frames, blame_options=options)
        assert [suspect.commit_id for suspect in response.suspects] == [expected]


def test_a_recursion_counts_once(scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    deep = [FRAMES[0], *[FRAMES[1]] * 900, FRAMES[2]]
    response = find(scm, ours, frames=deep)
    scores = {suspect.commit_id: suspect.score for suspect in response.suspects}
    flat = {suspect.commit_id: suspect.score for suspect in find(scm, ours, frames=FRAMES).suspects}
    assert scores == pytest.approx(flat, rel=1e-6)
    assert "line 6 of shop/cart.py (frames 1 to 900)" in response.suspects[1].reason


def test_a_stored_history_is_approximate_and_counts_half(app: Flask, scm: Scm, ours: Tenant, served: int) -> None:
    """Of a repository without a source a mapping is believed, and the newest stored commit ran."""
    repository = add(app, ours, "acme/gone", None)
    now = datetime.now(timezone.utc)
    with app.app_context():
        author = CommitAuthor(organization_id=ours.organization, name="Ann", email="ann@example.com")
        for number, age in enumerate((2, 1)):
            commit = Commit(
                repository_id=repository, key=str(number) * 40, author=author, message=f"change {number}\n\nbody",
                date_added=now - timedelta(days=age),
            )  # fmt: skip
            db.session.add(commit)
            db.session.add(CommitFileChange(commit=commit, filename="lib/pay.py" if number == 0 else "x", type="M"))
        mapping = CodeMapping(
            organization_id=ours.organization, project_id=ours.project, repository_id=repository,
            stack_root="/pay/", source_root="lib/",
        )  # fmt: skip
        db.session.add(mapping)
        db.session.commit()
    response = find(scm, ours, frames=[{"path": "/pay/pay.py", "line": 7}])
    [suspect], [frame] = response.suspects, response.frames
    assert (suspect.commit_id, suspect.subject, suspect.author.name) == ("0" * 40, "change 0", "Ann")
    assert (frame.commit_id, frame.blame.approximate) == ("1" * 40, True)
    assert 0.49 < suspect.score < 0.5
    assert "; approximately: " in suspect.reason


# --- What becomes of frames ---


def test_a_frame_that_fails_does_not_fail_the_others(scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    frames: list[tuple[dict[str, Any], int, str]] = [
        ({"path": "/app/shop/cart.py", "line": 99}, 5, "shop/cart.py has no line 99 at commit"),
        ({"path": "/app/shop/cart.py"}, 0, "its line is unknown"),
        ({"path": "/app/shop/cart.py", "line": -2}, 0, "its line is unknown"),
        ({"path": "/app/gone.py", "line": 1}, 0, "no source file of acme/shop ends with"),
        ({"path": "/app/gone.py", "line": 1, "in_app": True}, 0, "no source file of acme/shop ends with"),
        ({"path": "<frozen runpy>", "line": 1}, 0, "the runtime made it"),
        ({"path": "", "line": 1}, 0, "it is empty"),
        ({"path": "/app/dist/main.4f2a91c0.js", "line": 1}, 0, "it is a bundle whose source map is missing; no source"),
        ({"path": "/app/shop/cart.py", "line": 2, "in_app": False}, 0, "in_app is false"),
        ({"path": "/app/shop/views.py", "line": 2}, 0, ""),
    ]
    response = find(scm, ours, frames=[frame for frame, _, _ in frames])
    assert [suspect.commit_id for suspect in response.suspects] == [shop.decoy]
    for outcome, (_, code, text) in zip(response.frames, frames, strict=True):
        assert outcome.code == code
        assert text in outcome.no_suspect_reason
        assert bool(text) == bool(outcome.no_suspect_reason)
        assert outcome.HasField("blame") == (not text)
    assert "name what ran in release_commits" in response.frames[0].no_suspect_reason
    assert response.frames[0].message in response.frames[0].no_suspect_reason
    assert response.frames[0].source_url == ""
    assert [outcome.frame.in_app for outcome in response.frames[:3]] == [True] * 3
    assert [outcome.frame.HasField("in_app") for outcome in response.frames[3:6]] == [False, True, True]
    assert response.frames[5].frame.in_app is False


def test_a_commit_that_is_not_there_is_told_by_its_frames(scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    for sha in ("f" * 40, "f" * 8):
        response = find(scm, ours, frames=FRAMES, release_commits=[{"repository_id": served, "commit_sha": sha}])
        assert {(frame.code, frame.message) for frame in response.frames} == {
            (5, f"commit {sha} does not exist in repository {served}")
        }
        assert list(response.suspects) == []


# --- Requests that cannot work ---


@ON_SQLITE
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "frames is empty, and so is stacktrace; send one of them"),
        ({"frames": FRAMES, "stacktrace": TRACE}, "frames is there beside stacktrace; send one of them"),
        ({"stacktrace": "nothing"}, "stacktrace has no frames of Python, Java"),
        ({"stacktrace": "x" * (2**18 + 1)}, "stacktrace has 262145 characters; the limit is 262144"),
        ({"frames": FRAMES[:1] * 2001}, "frames has 2001 items; the limit is 2000"),
        ({"stacktrace": "\n" * 5001}, "stacktrace has more than 5000 lines: send the last stack trace alone"),
        ({"stacktrace": '["' + "x\\n" * 5001 + '"]'}, "stacktrace has more than 5000 lines"),
        ({"frames": [{"path": "x" * 4097}]}, "frames has a text of 4097 characters; the limit is 4096"),
        (
            {"frames": FRAMES, "release_commits": [{"repository_id": 7, "commit_sha": "main"}]},
            "release_commits of repository 7: commit_sha must be a full SHA, or at least its first 7 hexadecimal "
            "digits, got 'main'",
        ),
        ({"frames": FRAMES, "release_commits": [{"repository_id": 7}]}, "of repository 7: commit_sha is empty"),
        (
            {"frames": FRAMES, "release_commits": [{"repository_id": 7, "commit_sha": "a" * 40}] * 2},
            "release_commits has repository 7 twice; name the one commit that ran",
        ),
        (
            {"frames": FRAMES, "release_commits": [{"repository_id": n, "commit_sha": "a" * 40} for n in range(1001)]},
            "release_commits has 1001 items; the limit is 1000",
        ),
        ({"frames": FRAMES, "first_seen": {"seconds": 2**62}}, "first_seen is in no calendar: 4611686018427387904 s"),
        ({"frames": FRAMES, "max_age": {"seconds": -5}}, "max_age must be more than nothing, got -5 s"),
        ({"frames": FRAMES, "max_age": {}}, "max_age must be more than nothing, got 0 s"),
        ({"frames": FRAMES, "max_age": {"seconds": 2**62}}, "max_age must be "),
    ],
)
def test_what_is_wrong_is_said_with_the_way_out(scm: Scm, ours: Tenant, fields: dict[str, Any], text: str) -> None:
    assert text in error(scm, StatusCode.INVALID_ARGUMENT, ours, **fields).message


def test_a_trace_deeper_than_the_limit_is_cut_where_it_is_farthest_from_the_failure(
    scm: Scm, ours: Tenant, served: int, shop: Shop
) -> None:
    lines = [f'  File "/app/shop/cart.py", line 6, in f{number}\n' for number in range(2200)]
    response = find(scm, ours, stacktrace="".join(["Traceback (most recent call last):\n", *lines, TRACE[-260:]]))
    assert len(response.frames) == 2000
    assert response.frames[0].frame.function not in {"f0", "f1"}


def test_only_what_the_caller_may_reach(app: Flask, scm: Scm, ours: Tenant, served: int, shop: Shop) -> None:
    with app.app_context():
        theirs = add_tenant("others")
        db.session.add(Project(organization_id=ours.organization, slug="other"))
        db.session.commit()
    other = add(app, theirs, "others/shop", shop.git)
    release = [{"repository_id": other, "commit_sha": "a" * 40}]
    messages = {
        error(
            scm, StatusCode.NOT_FOUND, ours, frames=FRAMES, release_commits=[{**release[0], "repository_id": row}]
        ).message.replace(str(row), "N")
        for row in (other, 9_000_001)
    }
    assert len(messages) == 1
    error(scm, StatusCode.NOT_FOUND, ours, frames=FRAMES, project_id=9_000_001)
    # Out of its scope, the repository is as if it did not exist; so is a stored mapping that leads there.
    find(scm, ours, frames=FRAMES)
    caller = Identity("c", repositories=frozenset({ours.repository}))
    response = find(scm, ours, frames=FRAMES, caller=caller)
    assert list(response.suspects) == []
    assert {frame.path.repository_id for frame in response.frames} == {0}
    assert shop.culprit not in str(response)
    assert "acme/shop" not in str(response)
    release = [{"repository_id": served, "commit_sha": shop.culprit}]
    error(scm, StatusCode.NOT_FOUND, ours, frames=FRAMES, release_commits=release, caller=caller)
    own = Identity("c", repositories=frozenset({"acme/shop"}), projects=frozenset({"web"}))
    assert len(find(scm, ours, frames=FRAMES, release_commits=release, caller=own).suspects) == 2
    error(scm, StatusCode.NOT_FOUND, ours, frames=FRAMES, caller=Identity("c", projects=frozenset({"other"})))


# --- Costs ---


@pytest.fixture
def many(app: Flask, ours: Tenant, tmp_path: Path) -> Callable[[int], list[dict[str, Any]]]:
    """Repositories with two files each, and the frames of all their lines."""
    numbers = itertools.count()

    def build(count: int) -> list[dict[str, Any]]:
        frames = []
        for _ in range(count):
            number = next(numbers)
            git = GitRepository(tmp_path / f"r{number}")
            for name in ("one", "two"):
                # Moves of shorter lines are looked for once more, those of lines that touch one by one.
                git.write(f"pkg{number}/{name}.py", "".join(f"a line of {letter * 20}\n" for letter in "abcde"))
            git.commit()
            add(app, ours, f"acme/r{number}", git)
            frames += [
                {"path": f"/app/pkg{number}/{name}.py", "line": line} for name in ("one", "two") for line in (1, 3, 5)
            ]
        return frames

    return build


@pytest.mark.needs("time")
def test_as_many_statements_for_all_repositories_as_for_one(
    app: Flask, scm: Scm, ours: Tenant, many: Callable[[int], list[dict[str, Any]]]
) -> None:
    frames = many(1)
    releases = []
    for repository in range(2):
        with app.app_context():
            rows = db.session.execute(sa.select(Repository.id, Repository.mirror_path)).all()
        releases = [
            {"repository_id": row_id, "commit_sha": GitRepository(Path(path).parent).head()[:9]}
            for row_id, path in rows
            if path
        ]
        counts = [
            len(statements_of(app, lambda more=more: find(scm, ours, **more)))  # type: ignore[misc]
            for more in (
                {"frames": frames, "dry_run": True},
                {"frames": frames, "dry_run": True, "release_commits": releases},
            )
        ]
        if repository == 0:
            expected = counts
            frames = many(4)
    assert counts == expected


def test_one_run_of_git_for_each_file(
    scm: Scm, ours: Tenant, many: Callable[[int], list[dict[str, Any]]], runs_of_git: Callable[[], int]
) -> None:
    frames = many(3)
    runs_of_git()
    find(scm, ours, frames=frames[::3])
    # Of each repository the tree's, and the tips of two branches; a blame of each file.
    assert runs_of_git() <= 3 * (3 + 2 + 2)
    find(scm, ours, frames=frames[::3])
    warm = runs_of_git()  # the trees' own: whether a branch has moved
    find(scm, ours, frames=frames)
    assert runs_of_git() - warm == 3 * 2
    response = find(scm, ours, frames=frames)
    assert runs_of_git() == warm
    assert len(response.suspects) == 3


@ON_SQLITE
@pytest.mark.needs("time")
def test_of_too_many_files_those_nearest_to_the_failure_are_blamed(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, runs_of_git: Callable[[], int]
) -> None:
    git = GitRepository(tmp_path / "wide")
    for number in range(103):
        git.write(f"pkg/m{number}.py", "x\n")
    git.commit()
    add(app, ours, "acme/wide", git)
    frames = [{"path": f"/app/pkg/m{number}.py", "line": 1} for number in (*range(103), 0)]
    runs_of_git()
    response = find(scm, ours, frames=frames)
    assert runs_of_git() < 120
    told = [place for place, reason in enumerate(reasons(response)) if reason]
    assert told == [1, 2, 3]
    assert response.frames[1].no_suspect_reason == "100 files are nearer to the failure; no more are blamed"
    assert list(response.suspects[0].frames)[-1] == 0


def test_the_deadline_is_kept(scm: Scm, ours: Tenant, served: int) -> None:
    error(scm, StatusCode.DEADLINE_EXCEEDED, ours, frames=FRAMES * 300, timeout=0.001)


@pytest.mark.parametrize("path", ["Main.java", "src/Main.java", "src/main/java/Main.java"])
def test_a_class_without_a_package_is_found_by_the_name_of_its_file(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, path: str
) -> None:
    git = GitRepository(tmp_path / "java")
    git.write(path, "class Main {\n    static int total() { return 1 / 0; }\n}\n")
    git.write("src/com/acme/Other.java", "package com.acme;\n")
    culprit = git.commit("divide")
    add(app, ours, "acme/java", git)
    trace = 'Exception in thread "main" java.lang.ArithmeticException: / by zero\n\tat Main.total(Main.java:2)\n'
    frames = [{"module": "Main$Inner", "abs_path": "Main.java", "platform": "java", "line": 2}]
    for fields in ({"stacktrace": trace}, {"frames": frames}):
        response = find(scm, ours, **fields)
        assert [suspect.commit_id for suspect in response.suspects] == [culprit]
        assert response.frames[0].path.source_path == path
    with app.app_context():
        assert db.session.scalars(sa.select(CodeMapping.stack_root)).all() == []
