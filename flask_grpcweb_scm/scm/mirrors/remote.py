"""Remotes that git fetches from: within bounds that a hostile one cannot move, and with what nobody else is to see.

A remote has one address, which was checked: git resolves no name, follows no redirect, and speaks nothing but HTTP.
Credentials are in the environment of git alone. Nothing of this is in the mirror's configuration.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.mirrors.relay import Relay
from flask_grpcweb_scm.scm.providers import Credential, basic
from flask_grpcweb_scm.scm.providers.github_app import forget_token
from flask_grpcweb_scm.scm.providers.reply import SECONDARY_LIMIT_SECONDS
from flask_grpcweb_scm.scm.providers.sockets import IPAddress, connect_to_first, may_be_called, open_tunnel, resolve
from flask_grpcweb_scm.scm.remotes import PROVIDERS_BY_HOST, parse_remote
from flask_grpcweb_scm.scm.sources.git import GitError, GitFailed, find_git, run_git
from flask_grpcweb_scm.scm.sources.git_log import split_stream

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_LINE_BYTES",
    "FetchFailed",
    "Refs",
    "Remote",
    "fetch_url",
    "git_version",
    "variables_of",
]

OLDEST_GIT = (2, 37)
RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 30.0
MAX_URL_CHARACTERS = 8000
MAX_REFS_BYTES = 64 * 2**20
MAX_LINE_BYTES = 4 * 2**10
MAX_FILE_BYTES = 2**50
"""As good as no limit."""
MIRRORED = re.compile(r"HEAD|refs/(?:heads|tags)/[^^]*")
"""Names of what a mirror has: not of the commits that tags are of, ``^{}``."""
SLOW_BYTES = 1000
SLOW_SECONDS = 60
"""A transfer slower than so many bytes a second, for so long, is given up."""
MAX_MESSAGE_CHARACTERS = 300

# Users that providers know a token by:
# https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
# https://docs.gitlab.com/user/profile/personal_access_tokens/#clone-repository-using-personal-access-token
TOKEN_USERS = {"github": "x-access-token", "github_enterprise": "x-access-token", "bitbucket": "x-token-auth"}
OTHER_TOKEN_USER = "oauth2"  # noqa: S105  # a name
NOT_ASCII = re.compile(r"[^!-~]")

# Histories have these, from old or careless programs, and what is in them is only text.
HARMLESS = (
    *("badDate", "badDateOverflow", "badEmail", "badFilemode", "badName", "badTagName", "badTimezone", "missingEmail"),
    *("missingNameBeforeEmail", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "missingTaggerEntry"),
    *("multipleAuthors", "nulInCommit", "zeroPaddedDate", "zeroPaddedFilemode"),
)
CONFIG = {
    "http.followRedirects": "false",
    "http.lowSpeedLimit": str(SLOW_BYTES),
    "http.lowSpeedTime": str(SLOW_SECONDS),
    "credential.helper": "",
    "core.askPass": "",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "fetch.unpackLimit": "1",  # else what is fetched is in many files, which may be any number
    "fetch.uriProtocols": "",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "submodule.recurse": "false",
    "maintenance.auto": "false",
    "gc.auto": "0",
    **{f"fetch.fsck.{name}": "ignore" for name in HARMLESS},
}
CERTIFICATES = {"SSL_CERT_FILE": "http.sslCAInfo", "SSL_CERT_DIR": "http.sslCAPath"}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f.]*:[0-9a-f:.]*")


class FetchFailed(GitError):
    """Raised when a remote cannot be fetched; the text says why, and has no credential.

    :param may_be_local: whether the mirror may be what is wrong.
    :param retry_after: seconds that the remote wants to be left alone; None when it says nothing of that kind.
    """

    def __init__(self, text: str, *, may_be_local: bool = False, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.may_be_local = may_be_local
        self.retry_after = retry_after


class Refs(NamedTuple):
    """Names that a remote, or a mirror, has."""

    head: str
    """The branch that HEAD names, as ``refs/heads/…``; empty when it names none."""
    head_id: str
    ids: Mapping[str, str]
    """Object ids by branches and tags, as ``refs/…``."""


def fetch_url(url: str, provider: str) -> str:
    """Return where a repository is fetched from, over HTTP and without credentials.

    :param url: of its remote or its page, in any notation.
    :raises FetchFailed: when that is nowhere on a host.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise FetchFailed(f"{_shown(url)}… has more than {MAX_URL_CHARACTERS} characters, which no URL of a remote has")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in {"http", "https"}:
        remote = parse_remote(url)
        if remote is None or remote.host not in PROVIDERS_BY_HOST:
            raise FetchFailed(f"a mirror is fetched over https, and {_shown(url)} is nothing of that kind")
        return f"https://{remote.host}/{quote(remote.path)}.git"
    path = quote(unquote(parts.path)).rstrip("/")
    if _HOST.fullmatch(host) is None or not path:
        raise FetchFailed(f"{_shown(url)} is no URL such as https://host/path")
    if provider in TOKEN_USERS or provider == "gitlab":
        # They redirect to this one.
        path = path.removesuffix(".git") + ".git"
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{path}"


def _shown(url: str) -> str:
    return repr(url.rpartition("@")[2][:100])


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository on a host.

    :param url: see :func:`fetch_url`.
    :param allowed_hosts: that may have private addresses, and ``http`` without TLS.
    :param proxy: URL of a proxy that is told the address to connect to; empty for none.
    """

    url: str
    provider: str = ""
    credential: Credential | None = None
    allowed_hosts: Collection[str] = field(default=(), repr=False)
    proxy: str = field(default="", repr=False)

    def refs(self, folder: str, *, deadline: float | None, **how: Any) -> Refs:
        """Ask for the branches and tags.

        :param folder: without a repository.
        :param how: see :func:`run_git`.
        :raises GitError: when the remote does not tell.
        """
        head, ids, size = "", {}, 0
        names = "HEAD", "refs/heads/*", "refs/tags/*"
        with closing(self._run(f"{folder}/none", deadline, how, "ls-remote", "--symref", self.url, *names)) as lines:
            for line in split_stream(lines, b"\n", MAX_LINE_BYTES):
                size += len(line)
                if size > MAX_REFS_BYTES:
                    raise FetchFailed(f"the remote has more than {MAX_REFS_BYTES} bytes of branches and tags")
                value, _, name = line.decode("utf-8", "surrogateescape").partition("\t")
                if value.startswith("ref: "):
                    head = value.removeprefix("ref: ") if name == "HEAD" else head
                # The patterns are those of ends of names: others have them too.
                elif MIRRORED.fullmatch(name) is not None:
                    ids[name] = value
        head_id = ids.pop("HEAD", "")
        return Refs(head if head.startswith("refs/heads/") else "", head_id, ids)

    def fetch(self, git_dir: str, *, deadline: float | None, blobless: bool = False, **how: Any) -> None:
        """Make the branches and tags of a mirror those of the remote.

        :param blobless: without the contents of files.
        :raises GitError: when that fails, or is over a limit.
        """
        # In bare repositories, which GIT_WORK_TREE hides, no branch is checked out.
        flags = ["--quiet", "--force", "--prune", "--no-tags", "--no-write-fetch-head", "--update-head-ok"]
        filters = ["--filter=blob:none"] if blobless else []
        refspecs = [f"+refs/{kind}/*:refs/{kind}/*" for kind in ("heads", "tags")]
        name = "origin" if blobless else self.url  # of partial clones git is to know where the rest is
        with closing(self._run(git_dir, deadline, how, "fetch", *flags, *filters, name, *refspecs)) as output:
            for _ in output:
                pass

    def _run(
        self, git_dir: str, deadline: float | None, how: Mapping[str, Any], *arguments: str
    ) -> Generator[bytes, None, None]:
        _check_version()
        addresses = self._addresses(deadline)
        with ExitStack() as stack:
            relay = stack.enter_context(Relay(partial(self._tunnel, addresses))) if self.proxy else None
            variables = self._variables(addresses, "" if relay is None else relay.url)
            try:
                yield from run_git(
                    git_dir,
                    *arguments,
                    deadline=deadline,
                    variables=variables,
                    redact=self._redact,
                    **how,
                )
            except GitFailed as error:
                if relay is not None and relay.error is not None:
                    text = printable(str(relay.error))[:MAX_MESSAGE_CHARACTERS]
                    raise FetchFailed(f"the proxy of GRPC_SCM_PROXY does not connect: {text}") from None
                if self.credential is not None and re.search(_REFUSED, error.errors):
                    forget_token(self.credential)
                may_be_local = _OF_REMOTES.search(error.errors) is None
                # git does not tell for how long.
                wait = SECONDARY_LIMIT_SECONDS if "error: 429" in error.errors else None
                raise FetchFailed(self._sentence(error), may_be_local=may_be_local, retry_after=wait) from None

    @property
    def _place(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    def _addresses(self, deadline: float | None) -> list[IPAddress]:
        """Return the addresses of the host.

        :raises FetchFailed: when it is not one to fetch from.
        """
        host, port = self._place
        if urlsplit(self.url).scheme != "https" and host not in self.allowed_hosts:
            text = f"{host} is to be fetched from over https; GRPC_SCM_ALLOWED_HOSTS can allow it to have http"
            raise FetchFailed(text)
        left = RESOLVE_SECONDS if deadline is None else deadline - time.monotonic()
        try:
            addresses = resolve(host, port, max(0.0, min(RESOLVE_SECONDS, left)))
        except OSError as error:
            raise FetchFailed(f"{host} cannot be resolved: {error}") from error
        if not may_be_called(host, addresses, self.allowed_hosts):
            found = ", ".join(map(str, addresses))
            raise FetchFailed(f"{host} has no public address, but {found}; GRPC_SCM_ALLOWED_HOSTS can allow it")
        return addresses

    def _tunnel(self, addresses: Collection[IPAddress]) -> socket.socket:
        """Make a connection to the remote through the proxy."""
        proxy, deadline = urlsplit(self.proxy), time.monotonic() + CONNECT_SECONDS
        port = proxy.port or 80
        opened = connect_to_first(resolve(proxy.hostname or "", port, CONNECT_SECONDS), port, deadline)
        try:
            opened.settimeout(CONNECT_SECONDS)
            open_tunnel(opened, addresses, self._place[1], proxy.netloc.rpartition("@")[0])
        except BaseException:
            opened.close()
            raise
        return opened

    def _variables(self, addresses: Collection[IPAddress], proxy: str) -> dict[str, str]:
        """Return the environment of git."""
        parts, (host, port) = urlsplit(self.url), self._place
        config = {**CONFIG, "http.proxy": proxy}
        # As OpenSSL has them, and so the requests to the API.
        config |= {key: value for name, key in CERTIFICATES.items() if (value := os.environ.get(name))}
        if ":" not in host:  # an address is not resolved
            config["http.curloptResolve"] = f"{host}:{port}:{','.join(map(str, addresses))}"
        if self.credential is not None:
            # Of this host alone, wherever a remote may lead.
            config[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: {self._authorization()}"
        return {"GIT_ALLOW_PROTOCOL": parts.scheme, **variables_of(config)}

    def _authorization(self) -> str:
        assert self.credential is not None
        if not self.credential.token:
            return self.credential.authorization()
        return basic(TOKEN_USERS.get(self.provider, OTHER_TOKEN_USER), self.credential.token)

    def _redact(self, text: str) -> str:
        if self.credential is None:
            return text
        return self.credential.redact(text.replace(self._authorization().partition(" ")[2], "…"))

    def _sentence(self, error: GitFailed) -> str:
        """Return why git could not fetch."""
        lines = [line for line in error.errors.splitlines() if line.startswith(("fatal: ", "error: "))]
        said = printable((lines or error.errors.splitlines() or [""])[0])[:MAX_MESSAGE_CHARACTERS]
        for pattern, reason in _REASONS:
            if re.search(pattern, error.errors):
                return f"{self.url} cannot be fetched: {reason} (git: {said})"
        return f"{self.url} cannot be fetched: {said or error}"


# Of the connection, and of what came over it.
_OF_REMOTES = re.compile(
    "unable to access|could not read Username|Authentication failed|RPC failed|hung up|early EOF|disconnect"
    "|remote error|expected flush|protocol error|fsck error|transport '|not valid: is this a git repository"
)
_REFUSED = "could not read Username|Authentication failed|error: 401"
_REASONS = (
    (r"error: 30[12378]", "it redirects, which is not followed; is the URL of the repository right?"),
    (_REFUSED, "it does not accept the integration's credentials"),
    (r"error: 403", "the integration's credentials do not allow it"),
    (r"error: 404|not found", "it is not there, or the integration's credentials do not reach it"),
    (r"error: 429", "its rate limit is exhausted"),
    (r"error: 5[0-9][0-9]", "its host failed"),
    (r"No space left on device", "the disk is full"),
    (r"certificate", "its certificate is not trusted"),
    (r"transport '.*' not allowed", "its protocol is not allowed"),
)


def variables_of(config: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of git for a configuration; unlike arguments, nobody else on the machine sees it."""
    variables = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _check_version() -> None:
    version = git_version()
    if version < OLDEST_GIT:
        has, needed = (".".join(map(str, number)) for number in (version, OLDEST_GIT))
        text = f"git {has} of this machine cannot fetch from a checked address (http.curloptResolve); mirrors need git"
        raise FetchFailed(f"{text} {needed} or newer")


def git_version() -> tuple[int, int]:
    """Return the version of git on this machine, as two numbers."""
    return _version_of(find_git())


@functools.cache
def _version_of(path: str) -> tuple[int, int]:
    # Without what git reads of the environment, such as where to write a trace.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run([path, "version"], capture_output=True, text=True, timeout=60, check=False, env=environ)
    match = re.match(r"git version ([0-9]{1,9})\.([0-9]{1,9})", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
