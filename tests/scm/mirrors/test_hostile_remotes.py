"""Remotes that are not what they should be: nothing runs, nothing leaks, nothing is endless, and the error says why."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror, size_of
from flask_grpcweb_scm.scm.mirrors.remote import FetchFailed, Remote, fetch_url
from flask_grpcweb_scm.scm.providers import Credential
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.mirrors.git_server import Fault, GitServer, Handler, git_server, serve_git
from tests.scm.support import GitRepository, processes_with

__all__ = ["git_server"]

SECRET = "ghs_VerySecretToken"
SECONDS = 60.0
MIB = 2**20
BREATH = 0.005
"""Seconds between the chunks of what has no end: others have the machine meanwhile."""


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[GitServer]:
    """What nothing may reach."""
    with serve_git(tmp_path / "canary") as server:
        yield server
        assert server.requests == []


@pytest.fixture
def origin(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "remotes/acme/api.git")
    repository.write("README", "hello\n")
    repository.commit("first")
    return repository


@pytest.fixture
def fetch(git_server: GitServer, tmp_path: Path) -> Callable[..., OwnMirror]:
    def fetch(
        url: str = "", *, timeout: float = SECONDS, size: int | None = None, memory: int = 2**30, **how: Any
    ) -> OwnMirror:
        mirror = OwnMirror(tmp_path / "mirrors/0/17-a.git", Limits(timeout=timeout, memory=memory, size=size))
        how.setdefault("allowed_hosts", {"127.0.0.1"})
        mirror.update(Remote(url or f"{git_server.url}/acme/api.git", **how))
        return mirror

    return fetch


def redirect(where: str, *, only: str = "") -> Fault:
    def fault(handler: Handler) -> None:
        if only in handler.path:
            handler.respond(302, b"", f"Location: {where}{handler.path}")
        else:
            handler.serve()

    return fault


def stream(handler: Handler, kind: str, chunks: Iterator[bytes], pause: float = 0.0) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    with suppress(OSError):  # the client has seen enough
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            time.sleep(pause)
    handler.close_connection = True


def packet(content: bytes) -> bytes:
    return b"%04x%s" % (len(content) + 4, content)


def endless_pack(handler: Handler) -> None:
    """One of the objects in the pack has no end."""
    if b"command=fetch" not in handler.body:
        handler.serve()
        return

    def chunks() -> Iterator[bytes]:
        yield packet(b"packfile\n")
        yield packet(b"\x01PACK\x00\x00\x00\x02\x00\x00\x00\x02" + b"\xbf\xff\xff\xff\xff\x0f")
        deflate = zlib.compressobj(0)
        while True:
            yield packet(b"\x01" + (deflate.compress(os.urandom(32_000)) or b""))

    stream(handler, "result", chunks(), pause=BREATH)


def endless_progress(handler: Handler) -> None:
    if b"command=fetch" not in handler.body:
        handler.serve()
        return

    def chunks() -> Iterator[bytes]:
        yield packet(b"packfile\n")
        while True:
            yield packet(b"\x02" + b"more\n" * 1000)

    stream(handler, "result", chunks(), pause=BREATH)


def trickle(handler: Handler) -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield b"0"

    stream(handler, "advertisement", chunks(), pause=0.1)


def endless_refs(handler: Handler) -> None:
    def chunks() -> Iterator[bytes]:
        yield packet(b"# service=git-upload-pack\n") + b"0000"
        yield packet(b"a" * 40 + b" refs/heads/x\0 agent=git/2\n")
        more = b"".join(packet(b"a" * 40 + b" refs/heads/" + b"x" * 200 + b"%d\n" % each) for each in range(5000))
        while True:
            yield more

    stream(handler, "advertisement", chunks())


def compressed_refs(handler: Handler) -> None:
    """A quarter of a MiB that becomes 256."""
    content = packet(b"# service=git-upload-pack\n") + bytes(256 * MIB)
    headers = "Content-Type: application/x-git-upload-pack-advertisement", "Content-Encoding: gzip"
    handler.respond(200, gzip.compress(content, 1), *headers)


def message(text: bytes) -> Fault:
    return lambda handler: handler.respond(
        200,
        packet(b"# service=git-upload-pack\n") + b"0000" + packet(b"ERR " + text),
        "Content-Type: application/x-git-upload-pack-advertisement",
    )


@pytest.mark.needs("time")
@pytest.mark.parametrize(
    ("fault", "limits", "text"),
    [
        (endless_pack, {"size": 4 * MIB}, "would have more than 4194304 bytes; GRPC_SCM_MIRROR_BYTES"),
        (endless_pack, {"timeout": 3.0}, "git fetch did not end in time"),
        (endless_progress, {"timeout": 3.0}, "git fetch did not end in time"),
        (trickle, {"timeout": 3.0}, "git ls-remote did not end in time"),
        (endless_refs, {"memory": 96 * MIB}, "GRPC_GIT_MEMORY_BYTES"),
        (compressed_refs, {"memory": 96 * MIB}, "GRPC_GIT_MEMORY_BYTES"),
    ],
)
def test_nothing_is_endless(
    fetch: Callable[..., OwnMirror], git_server: GitServer, origin: GitRepository, tmp_path: Path, fault: Fault,
    limits: dict[str, Any], text: str,
) -> None:  # fmt: skip
    git_server.fault = fault
    with pytest.raises(GitError, match=text):
        fetch(**limits)
    assert size_of(tmp_path / "mirrors") < MIB, "what was fetched in vain is gone"
    assert processes_with(str(tmp_path / "mirrors")) == []
    git_server.fault = None
    assert fetch().problems(full=True) == ""


def test_no_redirect_is_followed(
    fetch: Callable[..., OwnMirror], git_server: GitServer, origin: GitRepository, canary: GitServer
) -> None:
    for where, only in ((canary.url, ""), (canary.url, "git-upload-pack"), (git_server.url + "/acme", "")):
        git_server.fault = redirect(where, only=only)
        with pytest.raises(FetchFailed, match="it redirects, which is not followed"):
            fetch(credential=Credential(token=SECRET))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("file:///etc", "fetched over https"),
        ("/etc", "fetched over https"),
        ("ext::sh -c touch% {pwned}", "fetched over https"),
        ("ssh://git@git.example/x", "fetched over https"),
        ("git://git.example/x", "fetched over https"),
        ("-oProxyCommand=touch {pwned}", "fetched over https"),
        ("https://", "no URL such as"),
        ("https:///x", "no URL such as"),
        ("https://host", "no URL such as"),
        ("https://ho st/x", "no URL such as"),
        ("https://höst.example/x", "no URL such as"),
        ("https://host:port/x", "fetched over https"),
        ("https://-x.example/x", "no URL such as"),
        ("https://user:pass@[::1/x", "fetched over https"),
        ("https://host/" + "x" * 200_000, "has more than 8000 characters"),
        ("https://user:pass@host/" + "x" * 200_000, "has more than 8000 characters"),
    ],
)
def test_what_is_no_remote(url: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=text) as caught:
        fetch_url(url.format(pwned=tmp_path / "pwned"), "")
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "provider", "expected"),
    [
        ("https://github.com/acme/api", "github", "https://github.com/acme/api.git"),
        ("https://github.com/acme/api.git", "github", "https://github.com/acme/api.git"),
        ("https://token:secret@gitlab.com/acme/a/b/", "gitlab", "https://gitlab.com/acme/a/b.git"),
        ("git@github.com:Acme/API.git", "github", "https://github.com/Acme/API.git"),
        ("ssh://git@gitlab.com:22/a/b.git", "", "https://gitlab.com/a/b.git"),
        ("https://Git.Example.:8443/x%20y?a#b", "", "https://git.example:8443/x%20y"),
        ('https://git.example/"%0a[core]', "", "https://git.example/%22%0A%5Bcore%5D"),
        ("https://[2606:4700::1]/x", "", "https://[2606:4700::1]/x"),
    ],
)
def test_where_a_repository_is_fetched_from(url: str, provider: str, expected: str) -> None:
    assert fetch_url(url, provider) == expected


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/.git", "ext::sh -c true", "ssh://git.example/x", "ftp://git.example/x", "http://93.184.215.14/x",
    ],
)  # fmt: skip
def test_only_https_unless_a_host_is_allowed(url: str, fetch: Callable[..., OwnMirror]) -> None:
    with pytest.raises(FetchFailed, match="is to be fetched from over https"):
        fetch(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]",
        "localhost", "100.100.100.200",
    ],
)  # fmt: skip
def test_private_addresses(host: str, fetch: Callable[..., OwnMirror], canary: GitServer) -> None:
    with pytest.raises(FetchFailed, match="has no public address"):
        fetch(f"https://{host}:{canary.server_port}/x", allowed_hosts=())


def test_a_name_is_resolved_once(
    fetch: Callable[..., OwnMirror], git_server: GitServer, origin: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    answers = [["93.184.215.14", "127.0.0.1"], ["127.0.0.1"]]

    def resolver(host: str, port: int, **options: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    url = f"https://changing.example:{git_server.server_port}/acme/api.git"
    with pytest.raises(FetchFailed, match=r"no public address, but 93.184.215.14, 127.0.0.1"):
        fetch(url)
    assert asked == ["changing.example"]
    assert git_server.requests == []
    # No resolver knows this name: git comes here only because it is told the address.
    answers.append(["127.0.0.1"])
    url = url.replace("https", "http")
    assert fetch(url, allowed_hosts={"changing.example"}).problems() == ""


def test_what_a_history_says_is_not_done(
    fetch: Callable[..., OwnMirror], origin: GitRepository, canary: GitServer, tmp_path: Path
) -> None:
    pwned = tmp_path / "pwned"
    origin.write(".gitmodules", f'[submodule "x"]\n\tpath = x\n\turl = {canary.url}/x.git\n\tupdate = checkout\n')
    origin.write(".lfsconfig", f"[lfs]\n\turl = {canary.url}/lfs\n")
    origin.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs\n")
    origin.write("x.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 7\n")
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x")
    origin.commit("a submodule")
    hook = origin.path / ".git/hooks/post-update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {pwned}\n")
    hook.chmod(0o755)
    origin.git("config", "core.fsmonitor", f"touch {pwned}")
    mirror = fetch()
    assert mirror.problems(full=True) == ""
    assert not (mirror.path / "hooks").exists()
    lines = Mirror(str(mirror.path), timeout=SECONDS).lines(origin.head(), "x.bin", [1])
    assert lines is not None
    assert lines[1].snippet.startswith("version https://git-lfs.github.com/spec/v1\n")
    assert not pwned.exists()


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ("100644 blob {blob}\t.git", "hasDotgit"),
        ("100644 blob {blob}\t..", "hasDotdot"),
        ("100644 blob {modules}\t.gitmodules", "gitmodulesUrl"),
    ],
)
def test_objects_that_are_attacks(fetch: Callable[..., OwnMirror], origin: GitRepository, tree: str, text: str) -> None:
    blob = origin.git("hash-object", "-w", "--stdin", stdin=b"x\n")
    modules = origin.git("hash-object", "-w", "--stdin", stdin=b'[submodule "x"]\n\tpath = x\n\turl = -u./x\n')
    entry = tree.format(blob=blob, modules=modules)
    mode, _, sha, name = entry.replace("\t", " ").split(" ")
    raw = f"{mode} {name}\0".encode() + bytes.fromhex(sha)
    made = origin.git("hash-object", "-w", "--stdin", "-t", "tree", "--literally", stdin=raw)
    commit = origin.git("commit-tree", "-m", "attack", made)
    origin.git("update-ref", "refs/heads/attack", commit)
    with pytest.raises(FetchFailed, match=text):
        fetch()


def test_harmless_oddities_of_old_histories(fetch: Callable[..., OwnMirror], origin: GitRepository) -> None:
    tree = origin.git("rev-parse", "HEAD^{tree}")
    for number, line in enumerate(("A<a@x> 1 +0000", "A <a@x> 1 +051800", "A  1 +0000", "<> 01 +0000")):
        raw = f"tree {tree}\nauthor {line}\ncommitter C <c@x> {number} +0000\n\nodd\n".encode()
        commit = origin.git("hash-object", "-w", "--stdin", "-t", "commit", "--literally", stdin=raw)
        origin.git("update-ref", f"refs/heads/odd-{number}", commit)
    blob = origin.git("rev-parse", "HEAD:README")
    raw = b"0100644 README\0" + bytes.fromhex(blob)
    padded = origin.git("hash-object", "-w", "--stdin", "-t", "tree", "--literally", stdin=raw)
    origin.git("update-ref", "refs/heads/-padded", origin.git("commit-tree", "-m", "padded", padded))
    mirror = fetch()
    assert len((mirror.path / "packed-refs").read_text().splitlines()) == 7


def test_a_dumb_server_names_others(
    fetch: Callable[..., OwnMirror], git_server: GitServer, origin: GitRepository, canary: GitServer, tmp_path: Path
) -> None:
    """Over the protocol without a service, "objects/info/http-alternates" may be anywhere."""
    head = origin.head()

    def dumb(handler: Handler) -> None:
        if "info/refs" in handler.path:
            handler.respond(200, f"{head}\trefs/heads/main\n".encode(), "Content-Type: text/plain")
        elif handler.path.endswith("alternates"):
            handler.respond(200, f"{canary.url}/objects\n".encode(), "Content-Type: text/plain")
        else:
            handler.respond(404)

    git_server.fault = dumb
    with pytest.raises(FetchFailed, match="cannot be fetched"):
        fetch()


def test_the_environment_and_the_configuration_of_the_user_do_not_count(
    fetch: Callable[..., OwnMirror], origin: GitRepository, canary: GitServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pwned = tmp_path / "pwned"
    (tmp_path / ".gitconfig").write_text(
        f'[url "{canary.url}/"]\n\tinsteadOf = http://127.0.0.1\n[credential]\n\thelper = "!touch {pwned}"\n'
    )
    for name, value in {
        "HOME": str(tmp_path), "http_proxy": canary.url, "ALL_PROXY": canary.url, "GIT_TRACE": str(pwned),
        "GIT_TRACE_CURL": str(pwned), "GIT_ASKPASS": f"touch {pwned}", "SSH_ASKPASS": f"touch {pwned}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert fetch(credential=Credential(token=SECRET)).problems() == ""
    assert not pwned.exists()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_refusals(
    fetch: Callable[..., OwnMirror], git_server: GitServer, origin: GitRepository, canary: GitServer, status: int
) -> None:
    header = f'WWW-Authenticate: Basic realm="{canary.url}"'
    git_server.fault = lambda handler: handler.respond(status, b"", *([header] if status == 401 else []))
    reasons = {401: "credentials", 403: "do not allow", 404: "not there", 429: "rate limit", 500: "host failed"}
    with pytest.raises(FetchFailed, match=reasons[status]) as caught:
        fetch(credential=Credential(token=SECRET))
    assert SECRET not in str(caught.value)


def test_credentials_are_in_no_place_that_others_read(
    fetch: Callable[..., OwnMirror], git_server: GitServer, origin: GitRepository, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    arguments, wrapper = tmp_path / "arguments", tmp_path / "bin/git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{arguments}"\nexec "{shutil.which("git")}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    credential = Credential(token=SECRET)
    mirror = fetch(credential=credential, provider="github")
    expected = Credential(user="x-access-token", password=SECRET).authorization()
    assert {sent for _, _, sent in git_server.requests} == {expected}
    git_server.fault = message(f"{SECRET} {expected}\x1b[2J".encode())
    with pytest.raises(FetchFailed) as caught:
        fetch(credential=credential, provider="github")
    texts = [str(caught.value), repr(caught.value.__context__), caplog.text, arguments.read_text()]
    texts += [path.read_bytes().decode("latin-1") for path in mirror.path.rglob("*") if path.is_file()]
    texts += [repr(Remote("https://x/y", credential=credential))]
    for text in texts:
        assert SECRET not in text
        assert expected.partition(" ")[2] not in text
        assert "\x1b" not in text


def test_an_old_git_is_refused(
    fetch: Callable[..., OwnMirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin/git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    with pytest.raises(FetchFailed, match=r"git 2\.30 of this machine .* mirrors need git 2\.37 or newer"):
        fetch()
