"""URLs of remotes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.remotes import (
    guess_provider,
    key_of_remote,
    own_external_id,
    public_url,
    remote_of,
    without_credentials,
)

SAME = {
    "github.com/acme/app": [
        "https://github.com/acme/app",
        "https://github.com/acme/app.git",
        "https://github.com/acme/app/",
        "https://github.com/acme/app.git/",
        "https://GitHub.com/Acme/App.git",
        "https://github.com:443/acme/app",
        "https://ann:secret@github.com/acme/app.git",
        "https://github.com./acme//app",
        "https://www.github.com/acme/app/tree/main",
        "http://github.com/acme/app",
        "git://github.com/acme/app.git",
        "git@github.com:acme/app.git",
        "git@github.com:/acme/app",
        "git:secret@github.com:acme/app",
        "github.com:acme/app",
        "ssh://git@github.com/acme/app.git",
        "ssh://git@github.com:22/acme/app",
        "ssh://git@ssh.github.com:443/acme/app.git",
        "git+ssh://git@github.com/acme/app",
    ],
    "github.com/acme/api": ["https://github.com/acme/api", "git@github.com:acme/api"],
    "github.com/other/app": ["https://github.com/other/app"],
    "gitlab.com/group/below/app": [
        "https://gitlab.com/group/below/app.git",
        "git@gitlab.com:group/below/app.git",
        "ssh://git@altssh.gitlab.com:443/group/below/app.git",
        "https://gitlab.com/group/below/app/-/tree/main",
    ],
    "gitlab.example/acme/app": ["git@gitlab.example:acme/app.git", "https://gitlab.example/acme/app"],
    "gitlab.example/Acme/app": ["git@gitlab.example:Acme/app.git"],
    "gitlab.example:8443/acme/app": ["https://gitlab.example:8443/acme/app"],
    "dev.azure.com/acme/p/r": [
        "https://acme@dev.azure.com/acme/p/_git/r",
        "git@ssh.dev.azure.com:v3/acme/p/r",
        "https://acme.visualstudio.com/p/_git/r",
        "https://acme.visualstudio.com/DefaultCollection/p/_git/r",
    ],
    "[2001:db8::1]:8/x": ["https://[2001:db8::1]:8/x"],
    "example.org/an app": ["https://example.org/an%20app"],
}


@pytest.mark.parametrize(("key", "url"), [(key, url) for key, urls in SAME.items() for url in urls])
def test_all_urls_of_a_remote_have_one_key(key: str, url: str) -> None:
    assert remote_of(url) == key == remote_of(public_url(url))
    assert key_of_remote(url, "/folder") == key


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/app.git",
        "../app",
        "C:\\app",
        "ext::sh",
        "https://github.com",
        "https://[broken",
        "https://h:port/x",
    ],
)
def test_what_names_no_repository_on_a_host(url: str) -> None:
    assert remote_of(url) is None


def test_paths_are_remotes_too_and_never_those_of_hosts(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "app.git")
    top = f"{tmp_path}/app"
    same = [top, f"{top}.git", f"{top}/.git", f"file://{top}.git", "app/", "link"]
    assert {key_of_remote(url, str(tmp_path)) for url in same} == {top}
    others = [*SAME, f"{tmp_path}/other", f"{tmp_path}/b\udcff", "s3://bucket/app", "ext::sh -c x", "x" * 5000]
    keys = [key_of_remote(url, str(tmp_path)) for url in others]
    for one, other in itertools.combinations(keys, 2):
        assert one != other
    assert all(len(key or "") <= 512 and (key or "").isprintable() for key in keys)


@pytest.mark.parametrize("length", [1, 64, 65, 200])
def test_an_external_id_of_our_own_fits(length: int) -> None:
    name = "ü" * length
    assert len(own_external_id(name, 64)) <= 64
    assert own_external_id(name, 64) == own_external_id(name, 64) != own_external_id(name + "x", 64)


@pytest.mark.parametrize(
    ("remote", "url", "provider"),
    [
        ("https://github.com/acme/app.git", "https://github.com/acme/app.git", "github"),
        ("https://user:secret@github.com/acme/app", "https://github.com/acme/app", "github"),
        ("https://token@GitLab.com:8443/acme/app", "https://gitlab.com:8443/acme/app", "gitlab"),
        ("https://bitbucket.org/a/b?access_token=secret#secret", "https://bitbucket.org/a/b", "bitbucket"),
        ("https://acme@dev.azure.com/acme/p/_git/r", "https://dev.azure.com/acme/p/_git/r", "vsts"),
        ("https://acme.visualstudio.com/p/_git/r", "https://acme.visualstudio.com/p/_git/r", "vsts"),
        ("git@github.com:acme/app.git", "git@github.com:acme/app.git", "github"),
        ("git:secret@github.com:acme/app.git", "git@github.com:acme/app.git", "github"),
        ("github.com:acme/app.git", "github.com:acme/app.git", "github"),
        ("ssh://git:secret@github.com/acme/app", "ssh://git@github.com/acme/app", "github"),
        ("ssh://git@example.org:2222/app", "ssh://git@example.org:2222/app", ""),
        ("https://[2001:db8::1]:8/x", "https://[2001:db8::1]:8/x", ""),
        ("https://github.com.evil.example/x", "https://github.com.evil.example/x", ""),
        ("https://example.org/x", "https://example.org/x", ""),
        ("", "", ""),
        ("/srv/git/app.git", "", ""),
        ("../app", "", ""),
        ("file:///srv/git/app.git", "", ""),
        ("C:\\git\\app", "", ""),
        ("ext::sh -c date", "", ""),
        ("https://[broken", "", ""),
        ("https://host:port/x", "", ""),
        ("https:///x", "", ""),
    ],
)
def test_a_remote_is_shown_without_credentials_and_without_local_paths(remote: str, url: str, provider: str) -> None:
    assert public_url(remote) == url
    assert guess_provider(remote) == provider


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("ftp://ann:secret@example.org/app", "ftp://example.org/app"),
        ("https://ann:secret#secret@example.org/app", "https://example.org/app"),
        ("https://ann:secret/secret@example.org/app", "https://example.org/app"),
        ("https://ann:secret@example.org:99999/app", "https://example.org:99999/app"),
        ("s3://key:secret@bucket/app", "s3://bucket/app"),
        ("helper::https://ann:secret@example.org/app", "helper::https://example.org/app"),
        ("ann:secret@example.org", "example.org"),
        ("/srv/a:b@c/app", "/srv/a:b@c/app"),
        ("../a@b", "../a@b"),
    ],
)
def test_what_cannot_be_read_is_shown_without_credentials_too(remote: str, url: str) -> None:
    assert without_credentials(remote) == url


def test_a_remote_stays_the_same_with_other_credentials() -> None:
    assert key_of_remote("s3://key:one@bucket/app", "/") == key_of_remote("s3://key:two@bucket/app", "/")
