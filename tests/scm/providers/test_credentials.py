"""Credentials: from files and variables, of GitHub Apps; and what the vendors refuse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat

from flask_grpcweb_scm.configuration import read_settings
from flask_grpcweb_scm.scm.providers import (
    Credential,
    CredentialRefused,
    GitHubApp,
    ProviderError,
    ProviderMisconfigured,
    ProviderNotFound,
    find_credential,
    github_app,
)
from flask_grpcweb_scm.scm.providers.github_app import app_jwt
from flask_grpcweb_scm.scm.providers.http import HttpClient
from flask_grpcweb_scm.scm.sync.listing import GitHubEnterpriseListing, GitHubListing, GitLabListing
from flask_grpcweb_scm.scm.trackers.jira import JiraCloud
from tests.documents import PAGES, block
from tests.scm.sources.providers import running
from tests.scm.sync.hosts import APP_ID, KEY, TOKEN, GitHubHost, GitLabHost, VendorHost, pem
from tests.tables import check_rows

APP = GitHubApp(app_id=APP_ID, private_key=pem(), installation_id="77")


def find(configured: Any, account: str = "") -> Credential:
    return find_credential("a", {"a": configured}, provider="github", account=account)


# Files and variables


def test_a_secret_is_read_where_it_is_and_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    for text in ("one\n", "two"):
        file.write_text(text)
        monkeypatch.setenv("BOT_TOKEN", text.strip())
        assert find({"token_file": str(file)}) == find({"token_env": "BOT_TOKEN"}) == Credential(token=text.strip())
    file.write_text("pässword\r\n")
    assert find({"user": "ann", "password_file": str(file)}) == Credential(user="ann", password="pässword")
    file.write_bytes(b"\xef\xbb\xbf" + b"three\r\n")
    assert find({"token_file": str(file)}) == Credential(token="three")
    file.write_text(pem())
    app = find({"app_id": APP_ID, "private_key_file": str(file)}, account="77")
    assert app == GitHubApp(app_id=APP_ID, private_key=pem().rstrip("\n"), installation_id="77")
    assert "PRIVATE" not in repr(app)


def test_a_secret_that_is_not_there_is_told_to_operators_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    rows = [
        ({"token_env": "ABSENT_TOKEN"}, "the variable 'ABSENT_TOKEN' is not set"),
        ({"token_file": str(tmp_path / "absent")}, "absent' cannot be read: No such file or directory"),
        ({"token_file": str(tmp_path)}, "cannot be read: Is a directory"),
        ({"token_file": str(tmp_path / "binary")}, "cannot be read: 'utf-8' codec"),
        ({"token_file": str(tmp_path / "empty")}, "has nothing in it"),
    ]

    def check(configured: Any, text: str) -> None:
        with pytest.raises(
            ProviderMisconfigured, match="token of the credentials 'a' of GRPC_SCM_CREDENTIALS"
        ) as caught:
            find(configured)
        assert text in caught.value.private
        assert str(tmp_path) not in str(caught.value)
        assert "ABSENT_TOKEN" not in str(caught.value)

    check_rows(check, rows)


def test_an_app_has_an_installation() -> None:
    key = {"app_id": APP_ID, "private_key": "k"}
    assert find({**key, "installation_id": "5"}, account="6") == GitHubApp(
        app_id=APP_ID, private_key="k", installation_id="5"
    )
    for account in ("", "acme/main", "٣"):
        with pytest.raises(ProviderMisconfigured, match="nothing says which installation of it"):
            find(key, account=account)


# GitHub Apps


@pytest.fixture
def github() -> Iterator[GitHubHost]:
    github_app._kept.clear()
    with running(GitHubHost()) as host:
        host.add(1, "acme/a")
        yield host


def listing(host: GitHubHost, app: GitHubApp = APP) -> GitHubListing:
    return GitHubListing(host.url, app, deadline=time.monotonic() + 10, allowed_hosts=["127.0.0.1"])


def names(api: GitHubListing) -> list[str]:
    page = api.page(api.place(""), "")
    assert page is not None
    return [row.name for row in page.repositories]


def test_a_token_is_kept_and_renewed_before_it_ends(github: GitHubHost) -> None:
    for _ in range(2):
        assert names(listing(github)) == ["acme/a"]
    assert len(github.made) == 1
    github_app._kept.clear()
    github.token_seconds = 299
    for _ in range(2):
        assert names(listing(github)) == ["acme/a"]
    assert len(github.made) == 3
    assert github.refusals == []


def test_a_token_that_is_refused_is_renewed_once(github: GitHubHost) -> None:
    api = listing(github)
    names(api)
    github.revoke()
    assert names(api) == names(listing(github)) == ["acme/a"]
    assert (len(github.made), github.refusals) == (2, ["bad token"])
    github.refuse = lambda request: (  # type: ignore[method-assign]
        None
        if request.method == "POST"
        else ("bad token", (401, {"message": f"Bad {request.headers['authorization']}"}, {}))
    )
    with pytest.raises(CredentialRefused) as caught:
        names(api)
    assert not any(token in str(caught.value) for token in github.made)
    assert len(github.made) == 3


def test_what_an_app_signs_is_in_no_message(github: GitHubHost) -> None:
    github.faults = [lambda request: (403, {"message": f"Bad {request.headers['authorization']}"}, {})]
    with pytest.raises(ProviderError) as caught:
        names(listing(github))
    assert "github responded with 403: Bad" in str(caught.value)
    assert "eyJ" not in f"{caught.value} {caught.value.private}"


def test_a_next_page_without_a_way_to_it_is_not_the_last_one(github: GitHubHost) -> None:
    link = {"Link": f'<{github.url}/user/repos?cursor=abc>; rel="next"'}
    github.faults = [lambda request: None, lambda request: (200, {"total_count": 0, "repositories": []}, link)]
    with pytest.raises(ProviderError, match="unexpected response"):
        names(listing(github))


def test_an_app_has_other_tokens_in_other_installations_and_with_other_keys(github: GitHubHost) -> None:
    names(listing(github))
    other = GitHubApp(app_id=APP_ID, private_key=pem(), installation_id="78")
    with pytest.raises(ProviderNotFound):
        names(listing(github, other))
    github.installations.add("78")
    names(listing(github, other))
    assert len(github.made) == 2
    stranger = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with pytest.raises(CredentialRefused, match="A JSON web token could not be decoded"):
        names(listing(github, GitHubApp(app_id=APP_ID, private_key=stranger, installation_id="77")))
    assert github.refusals == ["jwt"]


@pytest.mark.parametrize(
    "answer", [{}, {"token": "t"}, {"token": "a b\n", "expires_at": "x"}, {"token": "t", "expires_at": "x"}]
)
def test_what_is_no_token_is_unexpected(github: GitHubHost, answer: Any) -> None:
    github.faults = [lambda request: (201, answer, {})]
    with pytest.raises(ProviderError, match="unexpected response"):
        names(listing(github))


def test_a_key_that_is_none_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    for key in (
        *("no key", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"),
        *(public.decode(), locked.decode()),
    ):
        with pytest.raises(
            ProviderMisconfigured, match="the private key of the GitHub App 1234 is not a private RSA key in PEM"
        ):
            app_jwt(GitHubApp(app_id=APP_ID, private_key=key))
    monkeypatch.setattr("jwt.algorithms.has_crypto", False)
    with pytest.raises(ProviderMisconfigured, match=r"pip install 'flask_grpcweb_scm\[github-app\]'"):
        app_jwt(APP)


def test_only_github_has_apps() -> None:
    for kind in (GitLabListing, JiraCloud):
        with pytest.raises(ProviderMisconfigured, match="has no GitHub Apps"):
            kind("https://x.example", APP, deadline=0)  # type: ignore[abstract]


def test_an_enterprise_server_makes_tokens_below_its_api() -> None:
    with running(GitHubHost(prefix="/api/v3")) as host:
        host.add(1, "acme/a")
        api = GitHubEnterpriseListing(host.url, APP, deadline=time.monotonic() + 10, allowed_hosts=["127.0.0.1"])
        assert names(api) == ["acme/a"]
    assert [request.path for request in host.requests] == [
        "/api/v3/app/installations/77/access_tokens",
        "/api/v3/installation/repositories",
    ]


# One deliberate mistake for each rule of the vendors: what a stand-in does not refuse, no test would find.


def signed(key: Any = KEY, algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"iat": now - 60, "exp": now + 540, "iss": APP_ID, **claims}, key, algorithm=algorithm)


def client(host: VendorHost, token: str = TOKEN, **headers: str) -> HttpClient:
    usual = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
    return HttpClient(
        host.url, provider="x", deadline=time.monotonic() + 10, allowed_hosts=["127.0.0.1"],
        authorization=f"Bearer {token}" if token else "", headers={**usual, **headers},
    )  # fmt: skip


def test_github_refuses_what_github_refuses(github: GitHubHost) -> None:
    now = int(time.time())
    listed, made = "/user/repos", "/app/installations/77/access_tokens"
    names(listing(github))
    rows: list[tuple[str, str, str, dict[str, str], dict[str, str | int]]] = [
        ("user agent", listed, TOKEN, {"user-agent": ""}, {}),
        ("media type", listed, TOKEN, {"accept": "text/html"}, {}),
        ("media type", listed, TOKEN, {"accept": "application/vnd.github.v9+json"}, {}),
        ("version", listed, TOKEN, {"x-github-api-version": "2020-01-01"}, {}),
        ("page size", listed, TOKEN, {}, {"per_page": 101}),
        ("page size", listed, TOKEN, {}, {"per_page": 0}),
        ("no token", listed, "", {}, {}),
        ("bad token", listed, "ghp_ghost", {}, {}),
        ("integration", listed, github.made[0], {}, {}),
        ("integration", "/installation/repositories", TOKEN, {}, {}),
        ("jwt", made, TOKEN, {}, {}),
        ("jwt", made, signed(exp=now + 700), {}, {}),
        ("jwt", made, signed(exp=now - 1), {}, {}),
        ("jwt", made, signed(iat=now + 60), {}, {}),
        ("jwt", made, signed(iss="9"), {}, {}),
        ("jwt", made, signed("s3cret" * 8, "HS256"), {}, {}),
        ("jwt", made, signed(rsa.generate_private_key(public_exponent=65537, key_size=2048)), {}, {}),
    ]

    def check(rule: str, path: str, token: str, headers: dict[str, str], query: dict[str, str | int]) -> None:
        github.refusals.clear()
        with pytest.raises(ProviderError):
            client(github, token, **headers).request("POST" if path == made else "GET", path, query=query)
        assert github.refusals == [rule]

    check_rows(check, rows)
    assert client(github).get(listed, query={"per_page": 100}).status == 200
    assert client(github, signed()).request("POST", made).status == 201


def test_gitlab_refuses_what_gitlab_refuses() -> None:
    rows: list[tuple[str, str, dict[str, str | int]]] = [
        ("bad token", "", {}),
        ("bad token", "glpat-ghost", {}),
        ("page size", TOKEN, {"per_page": 101}),
        ("keyset", TOKEN, {"pagination": "keyset", "order_by": "name"}),
    ]
    with running(GitLabHost()) as gitlab:

        def check(rule: str, token: str, query: dict[str, str | int]) -> None:
            gitlab.refusals.clear()
            with pytest.raises(ProviderError):
                client(gitlab, token).get("/api/v4/projects", query=query)
            assert gitlab.refusals == [rule]

        check_rows(check, rows)
        assert client(gitlab).get("/api/v4/projects", query={"pagination": "keyset", "order_by": "id"}).status == 200


# The page


def test_the_configuration_of_the_page_can_be_read() -> None:
    names: dict[str, Any] = {}
    exec(block(PAGES["sync"], "python", "GRPC_SCM_CREDENTIALS"), names)
    exec(block(PAGES["sync"], "python", "GRPC_SCM_PROXY"), names)
    settings = read_settings({name: value for name, value in names.items() if name.startswith("GRPC_")})
    assert set(settings.scm_credentials) == {"bot", "lab", "jira", "app"}
    assert settings.scm_no_proxy == {"git.internal"}
