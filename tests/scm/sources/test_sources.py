"""One contract for local mirrors, GitHub, GitHub Enterprise and GitLab; then what only providers can do wrong."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, Repository, db
from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror
from flask_grpcweb_scm.scm.mirrors.remote import Remote
from flask_grpcweb_scm.scm.providers import (
    Credential,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.sources import BloblessMirror
from flask_grpcweb_scm.scm.sources.blame import (
    DEFAULT_BLAME,
    IGNORE_FILE,
    NOTHING_IGNORED,
    BlameOptions,
    NoSuchCommit,
)
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.git_log import GitCommit
from flask_grpcweb_scm.scm.sources.github import GitHubEnterpriseSource, GitHubSource
from flask_grpcweb_scm.scm.sources.gitlab import GitLabSource
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from flask_grpcweb_scm.scm.sources.source import Source
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.mirrors.git_server import serve_git
from tests.scm.sources.providers import Answer, FakeGitHub, FakeGitLab, Provider, running
from tests.scm.support import GitRepository, Scm, Tenant, add_tenant, make_app
from tests.scm.trackers.documented import changed

SECRET = "s3cret-t0ken"
FILES = ("README", "src/app.py", "src/helpers.py", "docs/naïve file.txt", "link")


def sorted_changes(commit: GitCommit) -> GitCommit:
    return replace(commit, changes=sorted(commit.changes, key=lambda change: (change.filename, change.type)))


class SourceContract:
    """What every source does, as git itself does it."""

    @pytest.fixture
    def source(self, history: GitRepository) -> Iterator[Source] | Source:
        raise NotImplementedError

    @pytest.fixture
    def git(self, history: GitRepository) -> Mirror:
        return Mirror(str(history.path / ".git"), timeout=30)

    def test_every_commit(self, source: Source, git: Mirror, history: GitRepository) -> None:
        for sha in history.git("rev-list", "--all").split():
            assert source.has_commit(sha)
            assert sorted_changes(source.commit(sha)) == sorted_changes(git.commit(sha))

    def test_the_beginning_of_an_id(self, source: Source, history: GitRepository) -> None:
        sha = history.head()
        assert list(source.commits_starting_with(sha[:7])) == [sha]
        assert list(source.commits_starting_with("f" * 8)) == []

    def test_absent_commits(self, source: Source, history: GitRepository) -> None:
        assert not source.has_commit("f" * 40)
        # An object, but no commit.
        assert not source.has_commit(history.git("rev-parse", "HEAD^{tree}"))

    def test_the_files_of_a_branch(self, source: Source, git: Mirror) -> None:
        for branch in ("", "main", "side"):
            name, tree = source.tree(branch)
            mirror_name, mirror_tree = git.tree(branch)
            assert tree
            assert name == mirror_name
            assert sorted(source.files(tree)) == sorted(git.files(mirror_tree or ""))

    @pytest.mark.parametrize("path", FILES)
    def test_lines(self, source: Source, git: Mirror, history: GitRepository, path: str) -> None:
        sha = history.head()
        for numbers in (range(1, 45), [1], [19, 2], [7], [100], [2**31 - 1]):
            assert source.lines(sha, path, numbers) == git.lines(sha, path, numbers)

    def test_lines_of_a_file_that_is_not_there(self, source: Source, history: GitRepository) -> None:
        assert source.lines(history.head(), "absent.py", [1]) is None
        assert source.lines(history.head(), "src", [1]) is None
        assert source.lines(history.git("rev-parse", "main~4"), "src/helpers.py", [1]) is None

    @pytest.mark.parametrize("path", ["README", "absent.py"])
    def test_lines_at_a_commit_that_is_not_there(self, source: Source, path: str) -> None:
        with pytest.raises(NoSuchCommit):
            source.lines("f" * 40, path, [1])

    def test_the_tip_of_a_branch(self, source: Source, git: Mirror, history: GitRepository) -> None:
        for branch in ("", "main", "side"):
            assert source.tip(branch) == git.tip(branch) == history.git("rev-parse", branch or "HEAD")
        with pytest.raises((GitError, ProviderNotFound)):
            source.tip("absent")

    def test_no_revision_is_ignored_without_a_file_of_them(self, source: Source) -> None:
        for branch in ("", "main", "absent"):
            assert source.ignored_revisions(branch) == NOTHING_IGNORED


class TestMirror(SourceContract):
    @pytest.fixture
    def source(self, history: GitRepository) -> Source:
        return Mirror(str(history.path / ".git"), timeout=30)


class TestBloblessMirror(SourceContract):
    @pytest.fixture
    def source(self, history: GitRepository, tmp_path: Path) -> Iterator[Source]:
        mirror = OwnMirror(tmp_path / "mirrors/0/1-0.git", Limits(timeout=None, memory=None))
        with serve_git(history.path.parent) as server:
            remote = Remote(f"{server.url}/{history.path.name}", allowed_hosts={"127.0.0.1"})
            mirror.update(remote, blobless=True)
        with running(FakeGitHub(history)) as provider:
            yield BloblessMirror(mirror.git_dir, open_github(provider), timeout=30)
        objects = history.git(f"--git-dir={mirror.git_dir}", "rev-list", "--objects", "--missing=print", "--all")
        assert "?" in objects


class TestGitHub(SourceContract):
    @pytest.fixture
    def source(self, history: GitRepository) -> Iterator[Source]:
        with running(FakeGitHub(history)) as provider:
            yield open_github(provider)
            assert provider.authorizations <= {f"Bearer {SECRET}"}


class TestGitHubThatTruncates(SourceContract):
    @pytest.fixture
    def source(self, history: GitRepository) -> Iterator[Source]:
        with running(FakeGitHub(history)) as provider:
            provider.max_tree_entries = 7
            provider.blame_needs_file = True
            yield open_github(provider)


class TestGitHubEnterprise(SourceContract):
    @pytest.fixture
    def source(self, history: GitRepository) -> Iterator[Source]:
        with running(FakeGitHub(history)) as provider:
            provider.prefix = "/api/v3"
            yield GitHubEnterpriseSource(provider.url + "/api/v3/", "o/r", Credential(token=SECRET), **options())


class TestGitLab(SourceContract):
    @pytest.fixture(params=["7", "g/p"])
    def source(self, history: GitRepository, request: pytest.FixtureRequest) -> Iterator[Source]:
        with running(FakeGitLab(history)) as provider:
            yield GitLabSource(provider.url, request.param, Credential(token=SECRET), **options())


def options(timeout: float = 30) -> dict[str, Any]:
    return {"deadline": time.monotonic() + timeout, "allowed_hosts": {"127.0.0.1"}}


def open_github(provider: Provider, project: str = "o/r") -> GitHubSource:
    return GitHubSource(provider.url, project, Credential(token=SECRET), **options())


# What only providers do


@pytest.fixture
def github(history: GitRepository) -> Iterator[FakeGitHub]:
    with running(FakeGitHub(history)) as provider:
        yield provider  # type: ignore[misc]


@pytest.mark.parametrize("project", ["o", "o/r/x", "../r", "o/..", "", "o/r?x", "o/r\n"])
def test_only_owner_and_name_are_a_repository_of_github(github: FakeGitHub, project: str) -> None:
    with pytest.raises(ProviderMisconfigured, match="owner/name"):
        open_github(github, project)
    assert github.requests == []


def test_a_branch_that_is_named_like_the_beginning_of_an_id_is_none(github: FakeGitHub, history: GitRepository) -> None:
    github.always = lambda: (200, {"sha": history.head()}, {})
    assert open_github(github).commits_starting_with("0000000") == []
    github.always = lambda: (200, {"sha": "0000000-x"}, {})
    assert open_github(github).commits_starting_with("0000000") == []


@pytest.mark.parametrize("answer", [None, [], {}, {"sha": 1}, "x", 7, b"<html>", b"{", {"data": {"repository": 3}}])
@pytest.mark.parametrize("provider", [FakeGitHub, FakeGitLab])
def test_what_is_no_answer_is_unavailable(history: GitRepository, provider: type[Provider], answer: Any) -> None:
    with running(provider(history)) as fake:
        fake.always = lambda: (200, answer, {})
        source: Source = open_github(fake)
        if provider is FakeGitLab:
            source = GitLabSource(fake.url, "7", Credential(token=SECRET), **options())
        for question in (
            lambda: source.has_commit("a" * 40),
            lambda: source.commit("a" * 40),
            lambda: source.tree("main"),
            lambda: source.tree(""),
            lambda: source.tree(".."),
            lambda: list(source.files("a" * 40)),
            lambda: source.lines("a" * 40, "x", [1]),
            lambda: source.tip(""),
            lambda: source.ignored_revisions(""),
        ):
            try:
                question()
            except ProviderUnavailable as error:
                assert "unexpected response" in str(error)
            else:
                # An empty list is a tree without files, and a blame without lines.
                assert answer == []


HOSTILE = [
    "..", "", "a\0", "\ud800", "x" * 300_000, None, True, -1, 0, 10**18, 10**4000, 1.5, float("nan"), [], [7], {},
    {"a": 1}, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
]  # fmt: skip


@pytest.mark.needs("time")
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("provider", [FakeGitHub, FakeGitLab])
def test_no_value_of_a_response_is_believed(history: GitRepository, provider: type[Provider], value: Any) -> None:
    """Each value of each response, one by one: an error of the provider, or something that can be stored."""
    sha = history.head()
    with running(provider(history)) as fake:
        source = open_github(fake)
        if provider is FakeGitLab:
            source = GitLabSource(fake.url, "7", Credential(token=SECRET), **options())  # type: ignore[assignment]
        for question in (
            lambda: source.commits_starting_with(sha[:8]),
            lambda: source.commit(sha),
            lambda: source.tree(""),
            lambda: list(source.files(sha)),
            lambda: source.lines(sha, "src/app.py", [1, 7]),
            lambda: source.tip("main"),
            lambda: source.ignored_revisions(""),
        ):
            answers: list[Answer] = []
            original = fake.answer

            def keep(*args: Any, original: Any = original, answers: Any = answers) -> Answer:
                answers.append(original(*args))
                return answers[-1]

            fake.answer = keep  # type: ignore[method-assign]
            question()
            del fake.answer  # type: ignore[method-assign]
            status, answer, _ = answers[0]
            for other in changed(answer, value):
                fake.always = lambda status=status, other=other: (status, other, {})
                try:
                    found = question()
                except ProviderError as error:
                    assert "127.0.0.1" not in str(error)
                else:
                    text = repr(found)
                    assert len(text) < 4_000_000
                    assert "\\x00" not in text
                    assert "\\ud800" not in text
            fake.always = None


@pytest.mark.parametrize("provider", [FakeGitHub, FakeGitLab])
@pytest.mark.parametrize("tokens", ["2", "23", "234"])
def test_pages_that_come_again_end(history: GitRepository, provider: type[Provider], tokens: str) -> None:
    count = itertools.count()

    def page() -> Answer:
        token = tokens[next(count) % len(tokens)]
        link = {"Link": f'<https://x.example/?page={token}&page_token={token}>; rel="next"'}
        return 200, [] if provider is FakeGitLab else {"parents": [], "files": []}, link

    with running(provider(history)) as fake:
        fake.always = page
        if provider is FakeGitLab:
            source = GitLabSource(fake.url, "7", Credential(token=SECRET), **options())
            if len(tokens) > 1:
                with pytest.raises(ProviderUnavailable):
                    list(source.files("a" * 40))
        else:
            with pytest.raises(ProviderUnavailable):
                open_github(fake).commit("a" * 40)
        assert len(fake.requests) < 9


def test_folders_without_an_end_end(github: FakeGitHub) -> None:
    entries = [{"type": "tree", "path": f"{number}", "sha": "a" * 40} for number in range(2_000)]
    github.always = lambda: (200, {"truncated": ".recursive" not in github.requests[-1][1], "tree": entries}, {})
    with pytest.raises(ProviderUnavailable):
        list(open_github(github).files("a" * 40))


def test_a_link_to_what_is_no_url(github: FakeGitHub) -> None:
    github.always = lambda: (200, {"parents": [], "files": []}, {"Link": '<http://[x?page=2>; rel="next"'})
    with pytest.raises(ProviderUnavailable):
        open_github(github).commit("a" * 40)


@pytest.mark.parametrize("last", [10**18, 10**300])
def test_ranges_of_lines_are_not_counted_through(github: FakeGitHub, last: int) -> None:
    author = {"name": "A", "email": "a@x"}
    commit = {
        "oid": "a" * 40, "author": author, "committedDate": "2020-01-01T00:00:00Z", "messageHeadline": "m",
    }  # fmt: skip
    ranges = [{"startingLine": -last, "endingLine": last, "commit": commit}] * 3
    file = {"__typename": "Blob", "text": "x\n", "isTruncated": False}
    data = {"data": {"repository": {"commit": {"blame": {"ranges": ranges}}, "file": file}}}
    github.always = lambda: (200, data, {})
    assert set(open_github(github).lines("a" * 40, "x", [1, 5]) or {}) == {1, 5}


@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        ("NOT_FOUND", ProviderNotFound),
        ("FORBIDDEN", ProviderForbidden),
        ("RATE_LIMITED", ProviderRateLimited),
    ],
)
def test_errors_of_graphql(github: FakeGitHub, kind: str, error_class: type[ProviderError]) -> None:
    error = {"type": kind, "message": f"no {SECRET}\r\nfor you"}
    github.always = lambda: (200, {"data": {"repository": None}, "errors": [error]}, {})
    with pytest.raises(error_class, match="github responded: no … for you"):
        open_github(github).lines("a" * 40, "x", [1])


def test_text_that_cannot_be_stored_is_cleaned(github: FakeGitHub) -> None:
    author = {"name": "A\0\ud800", "email": "A@X"}
    commit = {"message": "m\0\ud800\n", "author": author, "committer": {"date": "2020-01-01T00:00:00Z"}}
    github.always = lambda: (200, {"sha": "x", "commit": commit, "parents": [], "files": []}, {})
    found = open_github(github).commit("a" * 40)
    assert (found.sha, found.author_name, found.author_email, found.message) == ("a" * 40, "A?", "a@x", "m?")


def test_a_repository_without_commits(tmp_path: Path) -> None:
    empty = GitRepository(tmp_path / "empty")
    with running(FakeGitHub(empty)) as provider:
        assert open_github(provider).tree("") == ("main", None)
        assert open_github(provider).tip("") is None
        with pytest.raises(ProviderNotFound):
            open_github(provider).tree("main")
    with running(FakeGitLab(empty)) as provider:
        assert GitLabSource(provider.url, "7", Credential(token=SECRET), **options()).tree("") == ("", None)
        assert GitLabSource(provider.url, "7", Credential(token=SECRET), **options()).tip("") is None


# What blame looks through


@pytest.fixture(params=[FakeGitHub, FakeGitLab])
def reformatted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Provider, Source, str]]:
    """A provider, its source, and a commit that is to be ignored."""
    repository = GitRepository(tmp_path / "git")
    repository.write("f", "one\n")
    repository.commit("first")
    repository.write("f", "\tone\n")
    sha = repository.commit("reformatted")
    repository.write(IGNORE_FILE, f"# formatting\n{sha}\nmain\n")
    repository.commit("ignore")
    with running(request.param(repository)) as fake:
        if request.param is FakeGitHub:
            yield fake, open_github(fake), sha
        else:
            yield fake, GitLabSource(fake.url, "7", Credential(token=SECRET), **options()), sha


MOVES = BlameOptions(detect_moves=True)
BOTH = BlameOptions(detect_moves=True, ignore_whitespace=True)
ALL = BlameOptions(include_ignored_revisions=True)


@pytest.mark.parametrize(
    ("blame_options", "reason"),
    [
        (DEFAULT_BLAME, ".git-blame-ignore-revs names this commit, which {kind} has not passed over"),
        (ALL, ""),
        (
            MOVES,
            "{kind} does not look through moves; .git-blame-ignore-revs names this commit, which {kind} has not passed"
            " over",
        ),
        (replace(BOTH, include_ignored_revisions=True), "{kind} does not look through moves and whitespace"),
    ],
)
def test_what_a_provider_does_not_look_through_it_says(
    reformatted: tuple[Provider, Source, str], blame_options: BlameOptions, reason: str
) -> None:
    provider, source, sha = reformatted
    for branch in ("", "main"):
        ignored = source.ignored_revisions(branch)
        assert ignored.listing == f"{sha}\n".encode()
        lines = source.lines(provider.repository.head(), "f", [1], blame_options, ignored) or {}
        assert lines[1].blame.sha == sha
        assert lines[1].blame.approximate == reason.format(
            kind="github" if "/graphql" in str(provider.requests) else "gitlab"
        )


# The RPCs


@pytest.fixture
def app(sqlite_databases: SqliteDatabases) -> Iterator[Flask]:
    uri = sqlite_databases.create()
    app = make_app(
        uri,
        GRPC_SCM_CREDENTIALS={"bot": SECRET},
        GRPC_SCM_ALLOWED_HOSTS="127.0.0.1",
        GRPC_TRACKER_TIMEOUT=2,
    )
    with disposed(app):
        yield app
    sqlite_databases.drop(uri)


def connect(app: Flask, tenant: Tenant, provider: str, name: str, **metadata: str) -> int:
    """A repository of the tenant at a provider."""
    with app.app_context():
        integration = Integration(provider=provider, external_id="x", metadata_=metadata)
        installed = OrganizationIntegration(organization_id=tenant.organization, integration=integration)
        row = Repository(
            organization_id=tenant.organization, name=name, external_id=name, provider=provider, integration=integration
        )
        db.session.add_all([installed, row])
        db.session.commit()
        return row.id


@pytest.mark.parametrize(
    ("fake", "provider", "name"),
    [(FakeGitHub, "github", "o/r"), (FakeGitHub, "integrations:github", "o/r"), (FakeGitLab, "gitlab", "g/p")],
)
def test_a_provider_answers_where_there_is_no_mirror(
    app: Flask, scm: Scm, ours: Tenant, history: GitRepository, fake: type[Provider], provider: str, name: str
) -> None:
    history_head = history.head()
    with running(fake(history)) as running_provider:
        repository = connect(app, ours, provider, name, base_url=running_provider.url, credentials="bot")
        commit = scm("GetCommit", repository_id=repository, commit_sha=history_head[:8])
        assert (commit.key, commit.author.email) == (history_head, "ann@example.com")
        context = scm(
            "GetCommitContext", repository_id=repository, commit_sha=history_head, filepath="src/app.py", line_number=10
        )
        assert context.blame_author.name == "Bob"
        assert "changed" in context.code_snippet
        response = scm(
            "DeriveCodeMappings", organization_id=ours.organization, project_id=ours.project,
            stacktrace_paths=["/srv/src/app.py"],
        )  # fmt: skip
        [mapping] = response.mappings
        assert (mapping.repository_id, mapping.stack_root, mapping.default_branch) == (repository, "/srv/", "main")
        # The commit is stored now, the line and the tree are remembered.
        running_provider.requests.clear()
        response = scm(
            "DeriveCodeMappings", organization_id=ours.organization, project_id=ours.project,
            stacktrace_paths=["/opt/src/app.py"],
        )  # fmt: skip
        assert [mapping.stack_root for mapping in response.mappings] == ["/opt/"]
        assert scm("GetCommit", repository_id=repository, commit_sha=history_head).key == history_head
        assert running_provider.requests == []


OVER = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999"}


def failing(status: int, **headers: str) -> Answer:
    return status, {"message": f"your {SECRET} is bad"}, headers


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (failing(401), StatusCode.FAILED_PRECONDITION),
        (failing(403), StatusCode.PERMISSION_DENIED),
        (failing(404), StatusCode.NOT_FOUND),
        (failing(422), StatusCode.NOT_FOUND),
        (failing(429, **{"Retry-After": "60"}), StatusCode.RESOURCE_EXHAUSTED),
        (failing(403, **OVER), StatusCode.RESOURCE_EXHAUSTED),
        (failing(500), StatusCode.UNAVAILABLE),
        (failing(302, Location="https://elsewhere.example/"), StatusCode.FAILED_PRECONDITION),
    ],
)  # fmt: skip
def test_refusals_of_a_provider(
    app: Flask, scm: Scm, ours: Tenant, github: FakeGitHub, answer: Answer, code: StatusCode
) -> None:
    github.always = lambda: answer
    repository = connect(app, ours, "github", "o/r", base_url=github.url, credentials="bot")
    error = scm.error(code, "GetCommit", repository_id=repository, commit_sha="a" * 40)
    assert SECRET not in str(error)
    if code is StatusCode.RESOURCE_EXHAUSTED:
        assert error.details[0].retry_delay.seconds >= 50  # type: ignore[attr-defined]
    # Deriving goes on without it.
    response = scm(
        "DeriveCodeMappings", organization_id=ours.organization, project_id=ours.project, stacktrace_paths=["a/x.py"]
    )
    [outcome] = response.outcomes
    assert outcome.outcome == scm_pb2.PathOutcome.OUTCOME_NO_MATCH
    assert "o/r could not be searched: " in outcome.reason
    assert SECRET not in outcome.reason


def test_a_provider_that_does_not_answer_in_time(app: Flask, scm: Scm, ours: Tenant, github: FakeGitHub) -> None:
    over, started = threading.Event(), time.monotonic()
    github.always = lambda: (over.wait(30), failing(500))[1]
    repository = connect(app, ours, "github", "o/r", base_url=github.url, credentials="bot")
    try:
        scm.error(StatusCode.DEADLINE_EXCEEDED, "GetCommit", repository_id=repository, commit_sha="a" * 40, timeout=0.5)
    finally:
        over.set()
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("name", "metadata", "message"),
    [
        ("o/r", {"credentials": "absent"}, "GRPC_SCM_CREDENTIALS has no credentials named 'absent'"),
        ("o/r", {"base_url": "https://github.example"}, "names no credentials"),
        ("o/r", {"credentials": "bot", "base_url": "http://github.example"}, "must begin with https://"),
        ("no name", {"credentials": "bot"}, "owner/name"),
    ],
)
def test_settings_that_cannot_work_say_so(
    app: Flask, scm: Scm, ours: Tenant, name: str, metadata: dict[str, str], message: str
) -> None:
    repository = connect(app, ours, "github", name, **metadata)
    error = scm.error(StatusCode.FAILED_PRECONDITION, "GetCommit", repository_id=repository, commit_sha="a" * 40)
    assert message in error.message
    response = scm(
        "DeriveCodeMappings", organization_id=ours.organization, project_id=ours.project, stacktrace_paths=["a/x.py"]
    )
    assert message in response.outcomes[0].reason


@pytest.mark.parametrize(("provider", "metadata"), [("github", {}), ("jira", {"credentials": "bot"})])
def test_an_integration_that_is_no_source_leaves_stored_history(
    app: Flask, scm: Scm, ours: Tenant, provider: str, metadata: dict[str, str]
) -> None:
    repository = connect(app, ours, provider, "o/r", **metadata)
    scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=repository, commit_sha="a" * 40)


def test_an_integration_that_was_removed_lends_no_credentials(
    app: Flask, scm: Scm, ours: Tenant, github: FakeGitHub, history: GitRepository
) -> None:
    repository = connect(app, ours, "github", "o/r", base_url=github.url, credentials="bot")
    with app.app_context():
        db.session.query(OrganizationIntegration).filter_by(organization_id=ours.organization).delete()
        db.session.commit()
        add_tenant("others")
    scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=repository, commit_sha=history.head())
    assert github.requests == []
