"""``POST /scm/webhooks/NAME``: who may say that something has changed, and what becomes due."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import ConfigError
from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.scm import (
    ExternalIssue,
    Integration,
    Job,
    Organization,
    OrganizationIntegration,
    Repository,
    RepositoryStatus,
    WebhookDelivery,
    db,
)
from flask_grpcweb_scm.scm.database.db import database_now
from tests.combinations import ON_SQLITE
from tests.documents import PAGES, block
from tests.scm.databases import disposed
from tests.scm.support import make_app
from tests.scm.webhooks.sending import (
    GITHUB_SECRET,
    GITLAB_SECRET,
    SIGNING_TOKEN,
    Delivery,
    github,
    gitlab,
    post,
)
from tests.tables import check_rows

APP_SECRET = "2fd7c10b9e64a385c9f0d7716ba25e48"
OTHER_TOKEN = "whsec_" + base64.b64encode(bytes(range(40, 72))).decode()
OLD_SECRET = "b61d0f9e5c7a48321dd4e8a6f3970c25"
WEBHOOKS: dict[str, Any] = {
    "main": [GITHUB_SECRET, OLD_SECRET],
    "lab": [GITLAB_SECRET, SIGNING_TOKEN],
    "signed": OTHER_TOKEN,
    "app": APP_SECRET,
}
CONFIG: dict[str, Any] = {
    "GRPC_SCM_WEBHOOKS": WEBHOOKS,
    "GRPC_SCM_MIRRORS": "/nowhere",
    "GRPC_SCM_CREDENTIALS": {"bot": "t0ken", "app": {"app_id": "1", "private_key": "key"}},
}
SECRETS = {"main": GITHUB_SECRET, "app": APP_SECRET}
ACCEPTED, DUPLICATE, IGNORED = (200, "accepted"), (200, "duplicate"), (200, "ignored")


def push(number: int = 7, **more: Any) -> dict[str, Any]:
    repository = {"id": number, "full_name": f"acme/r{number}", "name": f"r{number}"}
    return {"ref": "refs/heads/main", "before": "0" * 40, "after": "1" * 40, "repository": repository, **more}


def gitlab_push(number: int = 7) -> dict[str, Any]:
    project = {"id": number, "path_with_namespace": f"acme/r{number}"}
    return {"object_kind": "push", "event_name": "push", "project_id": number, "project": project}


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(make_app(database, **CONFIG)) as app:
        with app.app_context():
            fill()
        yield app


def fill() -> None:
    """Two organizations, each with integrations and repositories whose numbers are the same."""
    for slug in ("acme", "umbrella"):
        organization = Organization(slug=slug)
        db.session.add(organization)
        db.session.flush()
        for name, provider, external_id, credentials in (
            ("main" if slug == "acme" else "theirs", "github", f"{slug}-main", "bot"),
            ("lab", "gitlab", f"{slug}-lab", "bot"),
            ("signed", "gitlab", f"{slug}-signed", "bot"),
            ("installed", "github", "4711" if slug == "acme" else "4712", "app"),
        ):
            metadata = {"credentials": credentials}
            integration = Integration(provider=provider, external_id=external_id, name=name, metadata_=metadata)
            db.session.add(integration)
            db.session.flush()
            installation = {"organization_id": organization.id, "integration_id": integration.id}
            db.session.add(OrganizationIntegration(**installation))
            spelled = f"integrations:{provider}" if slug == "umbrella" else provider
            first = {"main": 0, "theirs": 0, "lab": 0, "signed": 100, "installed": 200}[name]
            for number in (7, 8):
                external = str(first + number)
                db.session.add(
                    Repository(**installation, name=f"acme/r{external}", provider=spelled, external_id=external)
                )
    db.session.commit()


def due(app: Flask) -> list[tuple[str, str, str]]:
    """What is due now: kind, organization and number of the repository; and have it done."""
    with app.app_context():
        rows = sa.select(Job.kind, Organization.slug, Repository.external_id, Job.id).join(Job.organization)
        is_repository = sa.and_(Job.kind == "sync_repository", Repository.id == Job.subject_id)
        found = db.session.execute(rows.outerjoin(Repository, is_repository).where(Job.due_at <= database_now())).all()
        db.session.execute(sa.delete(Job))
        db.session.commit()
    return sorted((kind.removeprefix("sync_"), slug, number or "") for kind, slug, number, _ in found)


def jobs(app: Flask) -> list[tuple[str, int, timedelta]]:
    with app.app_context():
        now = database_now()
        return [(job.kind, job.requests, job.due_at - now) for job in db.session.scalars(sa.select(Job))]


OUR_PUSH = [("repository", "acme", "7")]
OUR_LISTING = [("organization", "acme", "")]


# Who sends


@ON_SQLITE
@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
@pytest.mark.parametrize("secret", [GITHUB_SECRET, OLD_SECRET])
def test_a_push_to_github_makes_its_repository_due(app: Flask, form: bool, secret: str) -> None:
    assert post(app, github("push", push(), form=form, secret=secret)) == ACCEPTED
    assert due(app) == OUR_PUSH


@ON_SQLITE
@pytest.mark.parametrize(
    ("name", "delivery"),
    [
        ("lab", lambda: gitlab("Push Hook", gitlab_push())),
        ("lab", lambda: gitlab("Push Hook", gitlab_push(), token=None, signing_token=SIGNING_TOKEN)),
        ("lab", lambda: gitlab("Push Hook", gitlab_push(), token="", signing_token=SIGNING_TOKEN)),
        ("signed", lambda: gitlab("Push Hook", gitlab_push(107), token=None, signing_token=OTHER_TOKEN)),
    ],
    ids=["token", "signature", "signature and empty token", "signature alone"],
)
def test_a_push_to_gitlab_makes_its_repository_due(app: Flask, name: str, delivery: Callable[[], Delivery]) -> None:
    assert post(app, delivery(), name) == ACCEPTED
    number = "107" if name == "signed" else "7"
    assert due(app) == [("repository", "acme", number), ("repository", "umbrella", number)]


SIGNED = "X_Hub_Signature_256"
FORGED: dict[str, tuple[str, Delivery, dict[str, str | None]]] = {
    "another secret": ("main", github("push", push(), secret="guess"), {}),
    "no signature": ("main", github("push", push()), {SIGNED: None}),
    "an empty signature": ("main", github("push", push()), {SIGNED: ""}),
    "a signature of nothing": ("main", github("push", push()), {SIGNED: "sha256="}),
    "the old signature alone": ("main", github("push", push()), {SIGNED: None, "X_Hub_Signature": "sha1=0"}),
    "characters that are none of ASCII": ("main", github("push", push()), {SIGNED: "sha256=é"}),
    "a secret of another webhook": ("main", github("push", push(), secret=GITLAB_SECRET), {}),
    "a token of another webhook": ("lab", gitlab("Push Hook", gitlab_push(), token=GITHUB_SECRET), {}),
    "another token": ("lab", gitlab("Push Hook", gitlab_push(), token="guess"), {}),
    "an empty token": ("lab", gitlab("Push Hook", gitlab_push(), token=""), {}),
    "half of a token": ("lab", gitlab("Push Hook", gitlab_push(), token=GITLAB_SECRET[:16]), {}),
    "a signing token as a token": ("signed", gitlab("Push Hook", gitlab_push(), token=OTHER_TOKEN), {}),
    "a token beside a wrong signature": (
        "lab", gitlab("Push Hook", gitlab_push(), signing_token=SIGNING_TOKEN), {"webhook_signature": "v1,AAAA"},
    ),
    "a signature of another time": (
        "signed", gitlab("Push Hook", gitlab_push(), signing_token=OTHER_TOKEN), {"webhook_timestamp": "1"},
    ),
    "a signature of another delivery": (
        "signed", gitlab("Push Hook", gitlab_push(), signing_token=OTHER_TOKEN), {"webhook_id": "other"},
    ),
    "a signature without a version": (
        "signed", gitlab("Push Hook", gitlab_push(), signing_token=OTHER_TOKEN), {"webhook_signature": "AAAA"},
    ),
    "a signature of long ago": (
        "signed", gitlab("Push Hook", gitlab_push(), token=None, signing_token=OTHER_TOKEN, when=1e9), {},
    ),
    "a signature of the future": (
        "signed", gitlab("Push Hook", gitlab_push(), token=None, signing_token=OTHER_TOKEN, when=1e11), {},
    ),
}  # fmt: skip


def test_what_is_forged_is_refused_and_makes_nothing_due(app: Flask) -> None:
    def check(case: str) -> None:
        name, delivery, changed = FORGED[case]
        assert (post(app, delivery, name, **changed)[0], due(app)) == (401, [])

    check_rows(check, [(case,) for case in FORGED])


def test_a_body_is_verified_before_it_is_read(app: Flask) -> None:
    hostile = Delivery(b"[" * 100_000, github("push", {}).headers)
    assert post(app, hostile)[0] == 401


def test_a_token_is_compared_before_the_body_is_read(app: Flask) -> None:
    class Unreadable:
        def read(self, *_: int) -> bytes:
            raise AssertionError("the body is read")

    environ = {"wsgi.input": Unreadable(), "CONTENT_LENGTH": "0", "HTTP_X_GITLAB_TOKEN": "guess"}
    assert app.test_client().post("/scm/webhooks/lab", environ_overrides=environ).status_code == 401


def test_a_webhook_that_is_not_configured_is_not_there(app: Flask) -> None:
    def check(name: str) -> None:
        assert app.test_client().post(f"/scm/webhooks/{name}", data=b"{}").status_code == 404

    check_rows(check, [(name,) for name in ("other", "", "main/x", "../main", "4711", "MAIN")])


def test_without_webhooks_there_is_no_such_path(database: str) -> None:
    with disposed(make_app(database)) as app:
        assert app.test_client().post("/scm/webhooks/main", data=b"{}").status_code == 404


def test_the_path_is_below_the_prefix_of_the_rpcs(database: str) -> None:
    with disposed(make_app(database, **CONFIG, GRPC_URL_PREFIX="/rpc")) as app:
        assert post(app, github("ping", {"zen": "Keep it logically awesome."})) == (200, "pong")
        assert app.test_client().post("/scm/webhooks/main", data=b"{}").status_code == 404


def test_only_post_is_understood(app: Flask) -> None:
    response = app.test_client().get("/scm/webhooks/main")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_hooks_of_the_app_do_not_see_deliveries(app: Flask) -> None:
    @app.before_request
    def log_in() -> tuple[str, int]:
        return "log in first", 403

    assert post(app, github("push", push())) == ACCEPTED


BODIES = [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000, b'{"a": ' * 50_000]


def test_a_body_that_is_no_object_is_refused(app: Flask) -> None:
    def check(body: bytes, form: bool) -> None:
        headers = github("push", {}, form=form).headers
        headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(GITHUB_SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert post(app, Delivery(body, headers))[0] == 400

    check_rows(check, itertools.product(BODIES, (False, True)))


STRANGE: list[Any] = [None, 0, -1, 7.0, "7", True, [], {}, [7], {"id": 7}, 2**64, 10**30, "\ud800", "7\x00"]


@ON_SQLITE
def test_values_of_any_type_do_no_harm(app: Flask) -> None:
    def check(value: Any) -> None:
        payloads: list[dict[str, Any]] = [
            {"repository": value},
            {"repository": {"id": value}},
            {"repository": {"id": 999_999, "full_name": value}, "installation": value},
            {"repository": {"id": 999_999}, "installation": {"id": value}},
        ]
        sent = [post(app, github("push", payload)) for payload in payloads]
        payload = {"object_kind": value, "event_name": value, "project_id": value, "project": value}
        sent += [post(app, gitlab("Push Hook", {**payload, **more}), "lab") for more in ({}, {"object_kind": "push"})]
        assert {*sent} <= {ACCEPTED, IGNORED}

    check_rows(check, [(value,) for value in STRANGE])


def test_a_long_body_is_refused(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.web.webhooks.MAX_BODY_BYTES", 1000)
    assert post(app, github("push", push(filler="x" * 1000)))[0] == 413
    assert due(app) == []


# What it is about


REPOSITORY_ACTIONS = (
    *("created", "deleted", "archived", "unarchived", "renamed", "transferred", "privatized", "publicized", "edited"),
)
INSTALLATION_ACTIONS = ("created", "deleted", "suspend", "unsuspend", "new_permissions_accepted")
PROJECT_EVENTS = ("project_create", "project_destroy", "project_rename", "project_transfer", "group_rename")
OTHER_EVENTS = ("star", "workflow_run", "check_run", "meta", "no_such_event", "", "issue_comment", "é")
OTHER_KINDS = ("merge_request", "pipeline", "note", "no_such_kind", "", None, "user_create")


def test_changes_of_repositories_and_installations_make_the_listing_due(app: Flask) -> None:
    def check(name: str, event: str, payload: dict[str, Any]) -> None:
        assert (post(app, github(event, payload, secret=SECRETS[name]), name), due(app)) == (ACCEPTED, OUR_LISTING)

    installation = {"installation": {"id": 4711}}
    check_rows(
        check,
        [
            *[("main", "repository", push(action=action)) for action in REPOSITORY_ACTIONS],
            ("main", "public", push()),
            *[("app", "installation", {"action": action, **installation}) for action in INSTALLATION_ACTIONS],
            *[
                ("app", "installation_repositories", {"action": action, **installation})
                for action in ("added", "removed")
            ],
            ("app", "installation_target", {"action": "renamed", **installation}),
        ],
    )


def test_changes_of_projects_make_the_listing_due(app: Flask) -> None:
    def check(kind: str) -> None:
        assert post(app, gitlab("System Hook", {"event_name": kind, "project_id": 9}), "lab") == ACCEPTED
        assert due(app) == [("organization", "acme", ""), ("organization", "umbrella", "")]

    check_rows(check, [(kind,) for kind in PROJECT_EVENTS])


def test_other_events_are_ignored(app: Flask) -> None:
    def check(event: str) -> None:
        assert (post(app, github(event, push())), due(app)) == (IGNORED, [])

    def check_gitlab(kind: str | None) -> None:
        payload = {**gitlab_push(), "object_kind": kind, "event_name": kind}
        assert (post(app, gitlab("Some Hook", payload), "lab"), due(app)) == (IGNORED, [])

    check_rows(check, [(event,) for event in OTHER_EVENTS])
    check_rows(check_gitlab, [(kind,) for kind in OTHER_KINDS])


def test_one_app_has_one_webhook_for_all_its_installations(app: Flask) -> None:
    for installation, number, expected in [
        (4711, 207, [("repository", "acme", "207")]),
        (4712, 208, [("repository", "umbrella", "208")]),
        (4713, 207, []),
    ]:
        post(app, github("push", push(number, installation={"id": installation}), secret=APP_SECRET), "app")
        assert due(app) == expected


def test_a_repository_of_another_integration_stays_as_it_is(app: Flask) -> None:
    """Not even its listing is due: one integration has no say in what another one sees."""
    assert (post(app, github("push", push(207))), jobs(app)) == (IGNORED, [])


def test_what_people_have_disabled_stays_so(app: Flask) -> None:
    set_status(app, RepositoryStatus.DISABLED)
    assert post(app, github("push", push())) == IGNORED
    assert jobs(app) == []


def set_status(app: Flask, status: RepositoryStatus) -> None:
    with app.app_context():
        db.session.execute(sa.update(Repository).values(status=status))
        db.session.commit()


def test_a_push_to_what_is_not_seen_makes_a_listing_due_but_not_each_time(app: Flask) -> None:
    set_status(app, RepositoryStatus.HIDDEN)
    for number in (7, 7, 999):
        assert post(app, github("push", push(number))) == ACCEPTED
    ((kind, requests, wait),) = jobs(app)
    assert (kind, requests, wait > timedelta(seconds=30)) == ("sync_organization", 2, True)


def test_a_push_to_what_is_unknown_does_not_have_a_listing_begin_again(app: Flask) -> None:
    assert post(app, github("push", push(999))) == ACCEPTED
    with app.app_context():
        db.session.execute(sa.update(Job).values(claimed_until=database_now() + timedelta(seconds=60)))
        db.session.commit()
    assert post(app, github("push", push(999))) == ACCEPTED
    ((_, requests, _),) = jobs(app)
    assert requests == 0


def test_a_job_that_is_due_already_is_left_alone_until_it_begins(app: Flask) -> None:
    def pushed() -> list[int]:
        assert post(app, github("push", push())) == ACCEPTED
        return [requests for _, requests, _ in jobs(app)]

    assert (pushed(), pushed()) == ([0], [0])
    with app.app_context():
        later = database_now() + timedelta(seconds=60)
        db.session.execute(sa.update(Job).values(claimed_until=later))
        db.session.commit()
    assert (pushed(), pushed()) == ([1], [2])
    with app.app_context():
        db.session.execute(sa.update(Job).values(claimed_until=None, due_at=later))
        db.session.commit()
    assert pushed() == [3]
    assert due(app) == OUR_PUSH


def test_a_push_outside_of_the_border_is_ignored(app: Flask) -> None:
    with app.app_context():
        db.session.execute(sa.update(OrganizationIntegration).values(config={"projects": "acme/r1*"}))
        db.session.commit()
    assert post(app, github("push", push(999))) == IGNORED
    assert post(app, github("push", push(1))) == ACCEPTED


def test_the_name_of_a_webhook_may_be_the_id_of_an_integration(database: str) -> None:
    with disposed(make_app(database, **{**CONFIG, "GRPC_SCM_WEBHOOKS": {"1": GITHUB_SECRET}})) as app:
        with app.app_context():
            fill()
        assert post(app, github("push", push()), "1") == ACCEPTED
        assert due(app) == OUR_PUSH


def test_a_number_of_two_hosts_is_two_repositories(app: Flask) -> None:
    with app.app_context():
        row = db.session.scalars(sa.select(Repository).where(Repository.external_id == "8")).first()
        assert row is not None
        row.external_id = "github.com:7"
        row.integration_id = None
        db.session.commit()
    assert post(app, github("push", push())) == ACCEPTED
    assert due(app) == OUR_PUSH


# Issues


def add_issue(app: Flask, integration: str, key: str) -> None:
    """An issue in each of our organizations that has an integration with this name."""
    with app.app_context():
        rows = sa.select(OrganizationIntegration).join(Integration).where(Integration.name == integration)
        for row in db.session.scalars(rows):
            of_row = {"organization_id": row.organization_id, "integration_id": row.integration_id}
            db.session.add(ExternalIssue(**of_row, key=key, title="broken"))
        db.session.commit()


def to_read(app: Flask) -> list[str]:
    """The keys of issues that are to be read now, and whether there is a job for each integration of theirs."""
    with app.app_context():
        issues = db.session.scalars(sa.select(ExternalIssue).where(ExternalIssue.refresh_at <= database_now())).all()
        subjects = {*db.session.scalars(sa.select(Job.subject_id).where(Job.kind == "refresh_issues"))}
        assert {issue.integration_id for issue in issues} == subjects
        keys = [issue.key for issue in issues]
        db.session.execute(sa.delete(Job))
        db.session.execute(sa.update(ExternalIssue).values(refresh_at=None))
        db.session.commit()
    return keys


def github_issue(number: Any = 3, **more: Any) -> dict[str, Any]:
    return {**push(), "action": "closed", "issue": {"number": number, "title": "broken", **more}}


def gitlab_issue(kind: str = "issue", iid: Any = 3) -> dict[str, Any]:
    return {**gitlab_push(), "object_kind": kind, "event_name": kind, "object_attributes": {"iid": iid, "id": 4}}


def test_an_issue_that_has_changed_is_read_again(app: Flask) -> None:
    add_issue(app, "main", "acme/r7#3")
    assert to_read(app) == []
    delivery = github("issues", github_issue())
    assert post(app, delivery) == ACCEPTED
    assert to_read(app) == ["acme/r7#3"]
    assert (post(app, delivery), to_read(app)) == (DUPLICATE, [])


def test_an_issue_of_gitlab_that_has_changed_is_read_again(app: Flask) -> None:
    add_issue(app, "lab", "gitlab.com:acme/r7#3")
    for kind in ("issue", "work_item"):
        assert post(app, gitlab("Issue Hook", gitlab_issue(kind)), "lab") == ACCEPTED
        assert to_read(app) == ["gitlab.com:acme/r7#3"] * 2


def test_an_issue_is_read_again_whatever_case_its_repository_has(app: Flask) -> None:
    """Since its owner has another one, the repository has it in deliveries, and keys that are stored do not."""
    add_issue(app, "main", "ACME/R7#3")
    add_issue(app, "lab", "gitlab.com:Acme/r7#3")
    assert post(app, github("issues", github_issue())) == ACCEPTED
    assert to_read(app) == ["ACME/R7#3"]
    assert post(app, gitlab("Issue Hook", gitlab_issue()), "lab") == ACCEPTED
    assert to_read(app) == ["gitlab.com:Acme/r7#3"] * 2


def test_issues_that_nobody_knows_are_ignored(app: Flask) -> None:
    add_issue(app, "theirs", "acme/r7#3")
    add_issue(app, "main", "acme/r7#4")

    def check(event: str, payload: dict[str, Any]) -> None:
        assert (post(app, github(event, payload)), to_read(app)) == (IGNORED, [])

    check_rows(
        check,
        [
            ("issues", github_issue()),
            ("issues", github_issue(None)),
            ("issues", github_issue(4, pull_request={})),
            ("issue_comment", github_issue(4)),
            ("issues", {**github_issue(4), "repository": {"id": 7}}),
        ],
    )
    with app.app_context():
        assert db.session.scalars(sa.select(WebhookDelivery)).all() == []


# Once


def test_a_delivery_that_comes_again_is_a_duplicate(app: Flask) -> None:
    delivery = github("push", push())
    assert [post(app, delivery) for _ in range(3)] == [ACCEPTED, DUPLICATE, DUPLICATE]
    ((_, requests, _),) = jobs(app)
    assert requests == 0
    assert post(app, github("push", push())) == ACCEPTED


@pytest.mark.parametrize("signing_token", ["", SIGNING_TOKEN])
def test_a_delivery_of_gitlab_that_comes_again_is_a_duplicate(app: Flask, signing_token: str) -> None:
    deliveries = [
        gitlab("Push Hook", gitlab_push(), signing_token=signing_token, delivery="one", when=None) for _ in range(2)
    ]
    assert [post(app, each, "lab") for each in deliveries] == [ACCEPTED, DUPLICATE]


def test_gitlab_without_idempotency_keys(app: Flask) -> None:
    first, second = gitlab("Push Hook", gitlab_push()), gitlab("Push Hook", gitlab_push(8))
    second.headers["X-Gitlab-Event-UUID"] = first.headers["X-Gitlab-Event-UUID"]
    sent = [post(app, each, "lab", Idempotency_Key=None) for each in (first, second, first)]
    assert sent == [ACCEPTED, ACCEPTED, DUPLICATE]
    nameless = [post(app, first, "lab", Idempotency_Key=None, X_Gitlab_Event_UUID=None) for _ in range(2)]
    assert nameless == [ACCEPTED, ACCEPTED]


def test_ids_of_any_length_are_known_again(app: Flask) -> None:
    for delivery in ("x" * 5000, "with a blank"):
        sent = [post(app, github("push", push(), delivery=delivery)) for _ in range(2)]
        assert sent == [ACCEPTED, DUPLICATE]


def test_the_same_id_at_two_webhooks_is_two_deliveries(app: Flask) -> None:
    assert post(app, github("push", push(), delivery="one")) == ACCEPTED
    assert post(app, gitlab("Push Hook", gitlab_push(), delivery="one"), "lab") == ACCEPTED


def test_old_deliveries_are_forgotten(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.scm.webhooks.KEPT_DELIVERIES", 20)
    monkeypatch.setattr("flask_grpcweb_scm.scm.webhooks.PRUNE_EVERY", 10)
    for _ in range(50):
        post(app, github("push", push()))
    with app.app_context():
        assert 20 <= db.session.scalars(sa.select(sa.func.count(WebhookDelivery.id))).one() <= 30


def test_deliveries_with_duplicates_reordered_and_forged_make_due_what_was_pushed(app: Flask) -> None:
    chance = random.Random(20261129)
    genuine = [github("push", push(chance.choice((7, 8, 999)), count=number)) for number in range(60)]
    forged = [Delivery(each.body, {**each.headers, "X-Hub-Signature-256": "sha256=" + "0" * 64}) for each in genuine]
    sent = [(each, True) for each in [*genuine, *chance.choices(genuine, k=40)]] + [(each, False) for each in forged]
    chance.shuffle(sent)
    outcomes = [(is_genuine, post(app, each)) for each, is_genuine in sent]
    assert {status for is_genuine, (status, _) in outcomes if not is_genuine} == {401}
    words = [word for is_genuine, (_, word) in outcomes if is_genuine]
    assert (words.count("accepted"), words.count("duplicate")) == (60, 40)
    assert due(app) == [("repository", "acme", "7"), ("repository", "acme", "8")]


# Configuration


def test_secrets_may_be_in_files_and_variables(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{GITHUB_SECRET}\n")
    monkeypatch.setenv("OLD_WEBHOOK_SECRET", OLD_SECRET)
    webhooks = {"main": [{"secret_file": str(file)}, {"secret_env": "OLD_WEBHOOK_SECRET"}]}
    with disposed(make_app(database, **{**CONFIG, "GRPC_SCM_WEBHOOKS": webhooks})) as app:
        with app.app_context():
            fill()
        assert [post(app, github("push", push(), secret=secret)) for secret in (GITHUB_SECRET, OLD_SECRET)] == [
            ACCEPTED, ACCEPTED
        ]  # fmt: skip
        file.write_text("changed without a restart")
        assert post(app, github("push", push(), secret="changed without a restart")) == ACCEPTED
        file.unlink()
        assert post(app, github("push", push(), secret=OLD_SECRET)) == ACCEPTED
        status, text = post(app, github("push", push()))
        assert (status, str(file) in text) == (503, False)


def test_the_configuration_of_the_page(database: str) -> None:
    config: dict[str, Any] = {}
    exec(block(PAGES["sync"], "python", "GRPC_SCM_WEBHOOKS"), config)
    with disposed(make_app(database, GRPC_SCM_WEBHOOKS=config["GRPC_SCM_WEBHOOKS"])) as app:
        assert {*app.extensions["grpcweb_scm"].settings.scm_webhooks} == {"lab", "app"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("secret", "a mapping of names to secrets"),
        ({"main": ""}, "secret of 'main' is empty"),
        ({"main": []}, "'main' has no secret"),
        ({"main": [GITHUB_SECRET, " "]}, "secret of 'main' is empty"),
        ({"main": {}}, "'main' has something else than secrets"),
        ({"main": None}, "'main' has something else than secrets"),
        ({"main": {"token": "x"}}, "'main' has something else than secrets"),
        ({"main": {"secret_file": "secret"}}, "not the absolute path of a file"),
        ({"a/b": "x"}, "'a/b' is not the name of a webhook"),
        ({"": "x"}, "'' is not the name of a webhook"),
    ],
)
def test_a_configuration_that_cannot_work_is_an_error(database: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match="GRPC_SCM_WEBHOOKS") as caught:
        make_app(database, GRPC_SCM_WEBHOOKS=value)
    assert said in str(caught.value)


def test_no_message_has_a_secret(database: str) -> None:
    with disposed(make_app(database, **CONFIG)) as app:
        settings = app.extensions["grpcweb_scm"].settings
        assert not any(secret in repr(settings) for secret in (GITHUB_SECRET, GITLAB_SECRET, SIGNING_TOKEN))


@ON_SQLITE
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"GRPC_SCM_MIRRORS": None}, "GRPC_SCM_MIRRORS is not"),
        ({"GRPC_SCM_WEBHOOKS": {"nobody": GITHUB_SECRET}}, "no integration has this name or id"),
        ({"GRPC_SCM_WEBHOOKS": {"jira": GITHUB_SECRET}}, "which is of jira"),
        ({"GRPC_SCM_WEBHOOKS": {"main": {"secret_file": "/no/such/file"}}}, "'/no/such/file' cannot be read"),
        ({"GRPC_SCM_WEBHOOKS": {"main": {"secret_env": "NO_SUCH_VARIABLE"}}}, "'NO_SUCH_VARIABLE' is not set"),
        ({"GRPC_SCM_WEBHOOKS": {"main": SIGNING_TOKEN[:-2]}}, "signing token is not as GitLab shows it"),
        ({"GRPC_SCM_WEBHOOKS": {"main": "short"}}, "GRPC_SCM_WEBHOOKS has a value of fewer than"),
        ({"GRPC_SCM_WEBHOOKS": {"main": "your-secret-here-your-secret-here"}}, "GRPC_SCM_WEBHOOKS has a placeholder"),
    ],
)
def test_the_check_knows_webhooks(database: str, changed: dict[str, Any], said: str) -> None:
    with disposed(make_app(database, **{**CONFIG, **changed})) as app:
        with app.app_context():
            fill()
            db.session.add(Integration(provider="jira", external_id="jira", name="jira"))
            db.session.commit()
        found = [line for line in findings(app, app.extensions["grpcweb_scm"].settings, {}) if said in line]
        assert len(found) == 1, found


def test_the_check_finds_nothing_in_a_sound_configuration(app: Flask) -> None:
    found = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert [line for line in found if "webhook" in line.lower()] == []


def test_the_check_needs_no_tables(empty_database: str) -> None:
    with disposed(make_app(empty_database, **CONFIG)) as app:
        findings(app, app.extensions["grpcweb_scm"].settings, {})


def test_a_database_without_tables_is_an_error_that_tells_nothing(empty_database: str) -> None:
    with disposed(make_app(empty_database, **CONFIG)) as app:
        status, text = post(app, github("push", push()))
        assert (status, "scm_integration" in text) == (500, False)
        assert json.dumps(text)
