"""URLs of git remotes."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm.scm.git_import.remotes import guess_provider, public_url


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
