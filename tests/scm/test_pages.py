"""Pages of providers, as their own interfaces link to them."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm.scm.pages import Pages

SHA = "5bee49d1c0ff1c0de0000000000000000000dead"
FILE = "src/a b#?%.py"
ENCODED = "src/a%20b%23%3F%25.py"

# Provider and remote, and the pages of a branch, a line at a commit, and a commit.
CASES = {
    "github": (
        "github", "git@github.com:acme/shop.git",
        f"https://github.com/acme/shop/blob/fix/tax/{ENCODED}",
        f"https://github.com/acme/shop/blob/{SHA}/{ENCODED}#L7",
        f"https://github.com/acme/shop/commit/{SHA}",
    ),
    "a provider that only the host tells": (
        "", "ssh://git@ssh.github.com:443/acme/shop.git",
        f"https://github.com/acme/shop/blob/fix/tax/{ENCODED}",
        f"https://github.com/acme/shop/blob/{SHA}/{ENCODED}#L7",
        f"https://github.com/acme/shop/commit/{SHA}",
    ),
    "github enterprise": (
        "github_enterprise", "ssh://git@code.acme.io:2222/acme/shop.git",
        f"https://code.acme.io/acme/shop/blob/fix/tax/{ENCODED}",
        f"https://code.acme.io/acme/shop/blob/{SHA}/{ENCODED}#L7",
        f"https://code.acme.io/acme/shop/commit/{SHA}",
    ),
    "gitlab in a folder, with a port and without TLS": (
        "gitlab", "http://code.acme.io:8080/gitlab/group/team/shop",
        f"http://code.acme.io:8080/gitlab/group/team/shop/-/blob/fix/tax/{ENCODED}",
        f"http://code.acme.io:8080/gitlab/group/team/shop/-/blob/{SHA}/{ENCODED}#L7",
        f"http://code.acme.io:8080/gitlab/group/team/shop/-/commit/{SHA}",
    ),
    "bitbucket": (
        "bitbucket", "http://kim@bitbucket.org/acme/shop.git",
        f"https://bitbucket.org/acme/shop/src/fix%2Ftax/{ENCODED}",
        f"https://bitbucket.org/acme/shop/src/{SHA}/{ENCODED}#lines-7",
        f"https://bitbucket.org/acme/shop/commits/{SHA}",
    ),
    "bitbucket data center over http": (
        "bitbucket_server", "https://code.acme.io/bitbucket/scm/SHOP/cart.git",
        f"https://code.acme.io/bitbucket/projects/SHOP/repos/cart/browse/{ENCODED}?at=refs%2Fheads%2Ffix%2Ftax",
        f"https://code.acme.io/bitbucket/projects/SHOP/repos/cart/browse/{ENCODED}?at={SHA}#7",
        f"https://code.acme.io/bitbucket/projects/SHOP/repos/cart/commits/{SHA}",
    ),
    "bitbucket data center over ssh, of a user": (
        "bitbucket_server", "ssh://git@code.acme.io:7999/~kim/cart.git",
        f"https://code.acme.io/users/kim/repos/cart/browse/{ENCODED}?at=refs%2Fheads%2Ffix%2Ftax",
        f"https://code.acme.io/users/kim/repos/cart/browse/{ENCODED}?at={SHA}#7",
        f"https://code.acme.io/users/kim/repos/cart/commits/{SHA}",
    ),
    "bitbucket data center, its own page": (
        "bitbucket_server", "https://code.acme.io/projects/SHOP/repos/cart/browse",
        f"https://code.acme.io/projects/SHOP/repos/cart/browse/{ENCODED}?at=refs%2Fheads%2Ffix%2Ftax",
        f"https://code.acme.io/projects/SHOP/repos/cart/browse/{ENCODED}?at={SHA}#7",
        f"https://code.acme.io/projects/SHOP/repos/cart/commits/{SHA}",
    ),
    "azure devops": (
        "vsts", "https://acme@dev.azure.com/acme/Web%20Shop/_git/cart",
        f"https://dev.azure.com/acme/Web%20Shop/_git/cart?path=/{ENCODED}&version=GBfix%2Ftax",
        f"https://dev.azure.com/acme/Web%20Shop/_git/cart?path=/{ENCODED}&version=GC{SHA}"
        "&line=7&lineEnd=8&lineStartColumn=1&lineEndColumn=1",
        f"https://dev.azure.com/acme/Web%20Shop/_git/cart/commit/{SHA}",
    ),
    "azure devops over ssh": (
        "vsts", "git@ssh.dev.azure.com:v3/acme/shop/cart",
        f"https://dev.azure.com/acme/shop/_git/cart?path=/{ENCODED}&version=GBfix%2Ftax",
        f"https://dev.azure.com/acme/shop/_git/cart?path=/{ENCODED}&version=GC{SHA}"
        "&line=7&lineEnd=8&lineStartColumn=1&lineEndColumn=1",
        f"https://dev.azure.com/acme/shop/_git/cart/commit/{SHA}",
    ),
    "azure devops, a project's own repository at the old host": (
        "vsts", "https://acme.visualstudio.com/DefaultCollection/_git/shop",
        f"https://dev.azure.com/acme/_git/shop?path=/{ENCODED}&version=GBfix%2Ftax",
        f"https://dev.azure.com/acme/_git/shop?path=/{ENCODED}&version=GC{SHA}"
        "&line=7&lineEnd=8&lineStartColumn=1&lineEndColumn=1",
        f"https://dev.azure.com/acme/_git/shop/commit/{SHA}",
    ),
    "azure devops server": (
        "vsts", "https://code.acme.io/tfs/Default/shop/_git/cart",
        f"https://code.acme.io/tfs/Default/shop/_git/cart?path=/{ENCODED}&version=GBfix%2Ftax",
        f"https://code.acme.io/tfs/Default/shop/_git/cart?path=/{ENCODED}&version=GC{SHA}"
        "&line=7&lineEnd=8&lineStartColumn=1&lineEndColumn=1",
        f"https://code.acme.io/tfs/Default/shop/_git/cart/commit/{SHA}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("provider", "url", "branch", "line", "commit"), CASES.values(), ids=CASES)
def test_pages(provider: str, url: str, branch: str, line: str, commit: str) -> None:
    pages = Pages.of(url, provider)
    assert pages.file(FILE, branch="fix/tax") == branch
    assert pages.file(FILE, sha=SHA, line=7) == line
    assert pages.commit(SHA) == commit


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("", "github"),
        ("/srv/git/shop.git", "github"),
        ("https://github.com/acme", "github"),
        ("https://code.acme.io/acme/shop", ""),
        ("https://code.acme.io/acme/shop", "subversion"),
        ("https://code.acme.io/cart", "bitbucket_server"),
        ("https://code.acme.io/cart", "vsts"),
        ('https://a"><script>/acme/shop', "github"),
        ("javascript://alert(1)/acme/shop", "github"),
    ],
)
def test_a_repository_without_a_known_page_has_none(url: str, provider: str) -> None:
    pages = Pages.of(url, provider)
    assert (pages.file(FILE, sha=SHA), pages.file(FILE, branch="main"), pages.commit(SHA)) == ("", "", "")


def test_a_page_needs_a_file_and_a_branch_or_commit() -> None:
    pages = Pages.of("https://github.com/a{b}/c", "github")
    assert pages.file("x.py") == pages.file("", branch="main") == ""
    assert pages.file("{x}.py", branch="main", line=0) == "https://github.com/a%7Bb%7D/c/blob/main/%7Bx%7D.py"
