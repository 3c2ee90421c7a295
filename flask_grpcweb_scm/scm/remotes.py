"""URLs of remotes: which repository one names, in whatever notation; and what of it is shown."""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = [
    "MAX_EXTERNAL_ID_CHARACTERS",
    "MAX_KEY_CHARACTERS",
    "Remote",
    "guess_provider",
    "key_of_remote",
    "local_key",
    "numbered_ids",
    "own_external_id",
    "parse_remote",
    "public_url",
    "remote_of",
    "without_credentials",
]

MAX_KEY_CHARACTERS = 512
MAX_EXTERNAL_ID_CHARACTERS = 64
"""Of a repository."""

PROVIDERS_BY_HOST = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "bitbucket.org": "bitbucket",
    "dev.azure.com": "vsts",
}
"""Hosts where a path is the same in upper and lower case."""
# https://docs.github.com/en/authentication/troubleshooting-ssh/using-ssh-over-the-https-port, and as the others do.
_OTHER_NAMES = {
    "www.github.com": "github.com",
    "api.github.com": "github.com",
    "ssh.github.com": "github.com",
    "www.gitlab.com": "gitlab.com",
    "altssh.gitlab.com": "gitlab.com",
    "www.bitbucket.org": "bitbucket.org",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
    "vs-ssh.visualstudio.com": "dev.azure.com",
}
_PORTS = {"https": 443, "http": 80, "ssh": 22, "git+ssh": 22, "ssh+git": 22, "git": 9418}

# "[<user>@]<host>:/<path-to-git-repo>" (git-fetch, "Git URLs"); a slash before the colon makes it a local path, and two
# colons a program that transports.
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@:/\s]+)(?::[^@/\s]*)?@)?(?P<host>[^@:/\s]{2,}):(?!//|:)(?P<path>[^\s]+)")


class Remote(NamedTuple):
    """A repository on a host."""

    host: str
    """In lower case, with the port if that is not the protocol's own."""
    path: str
    """Usually ``owner/name``, as the URL has it."""

    @property
    def key(self) -> str:
        """The same for all URLs of one repository, and different for two repositories."""
        path = self.path.lower() if self.host in PROVIDERS_BY_HOST else self.path
        return own_external_id(f"{self.host}/{path}", MAX_KEY_CHARACTERS)


def parse_remote(url: str) -> Remote | None:
    """Read the URL of a remote; None for a path of this machine, and what is no URL."""
    scp_like = _SCP_LIKE.fullmatch(url)
    if scp_like is not None:
        scheme, host, port, path = "ssh", scp_like["host"], None, scp_like["path"]
    else:
        try:
            parts = urlsplit(url)
            scheme, host, port, path = parts.scheme, parts.hostname or "", parts.port, unquote(parts.path)
        except ValueError:
            return None
    host, path = host.lower().rstrip("."), "/".join(part for part in path.split("/") if part)
    path = re.sub(r"(?<=[^/])\.git\Z", "", path, flags=re.IGNORECASE)
    if scheme not in _PORTS or not host or not path:
        return None
    if host in _OTHER_NAMES:
        host, port = _OTHER_NAMES[host], None
    if host.endswith(".visualstudio.com"):
        host, path = "dev.azure.com", f"{host.partition('.')[0]}/{path.removeprefix('DefaultCollection/')}"
    if host == "dev.azure.com":
        # https://dev.azure.com/{organization}/{project}/_git/{repository}, git@ssh.dev.azure.com:v3/{…}/{…}/{…}
        path = path.removeprefix("v3/").replace("/_git/", "/")
    elif host in PROVIDERS_BY_HOST:
        # A page of the repository, such as /owner/name/tree/main or /group/name/-/tree/main, is of the same one.
        path = path.partition("/-/")[0] if host == "gitlab.com" else "/".join(path.split("/")[:2])
    place = f"[{host}]" if ":" in host else host
    return Remote(place if port is None or port == _PORTS[scheme] else f"{place}:{port}", path)


def remote_of(url: str) -> str | None:
    """Return :attr:`Remote.key` of a URL; None when it names no repository on a host."""
    remote = parse_remote(url)
    return None if remote is None else remote.key


def key_of_remote(url: str, folder: str) -> str | None:
    """Return what tells a remote from all others; None for an empty URL.

    :param folder: of the repository that has the remote: a path may be relative to it.
    """
    known = remote_of(url)
    if known is not None or not url:
        return known
    if url.startswith("file://"):
        url = unquote(urlsplit(url).path)
    elif "://" in url or "::" in url:
        return _digest(without_credentials(url))
    return own_external_id(local_key(os.path.join(folder, url)), MAX_KEY_CHARACTERS)


def local_key(path: str) -> str:
    """Return what a remote is known by that is the repository at a path of this machine, with ``.git`` or without."""
    path = re.sub(r"(?<=[^/])/?\.git\Z", "", os.path.realpath(path))
    return path if path.isprintable() else _digest(path)


def public_url(url: str) -> str:
    """Remove passwords and tokens from the URL of a remote; empty for a path of this machine."""
    scp_like = _SCP_LIKE.fullmatch(url)
    if scp_like is not None:
        user, host, path = scp_like.group("user", "host", "path")
        return f"{user}@{host}:{path}" if user else url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not host:
        return ""
    place = f"[{host}]" if ":" in host else host
    user = f"{parts.username}@" if "ssh" in parts.scheme and parts.username else ""
    return urlunsplit((parts.scheme, f"{user}{place}{f':{port}' if port else ''}", parts.path, "", ""))


def without_credentials(url: str) -> str:
    """Remove whatever may be a user and a password, also of a URL that cannot be read."""
    scheme = re.match(r"[^/@]*:/*", url)
    before = scheme[0] if scheme is not None and "//" in scheme[0] else ""
    return before + url[len(before) :].rpartition("@")[2] if before or ":" in url.partition("/")[0] else url


def guess_provider(url: str) -> str:
    """Return the provider of a remote's host; empty for an unknown one."""
    remote = parse_remote(url)
    return "" if remote is None else PROVIDERS_BY_HOST.get(remote.host.partition(":")[0], "")


def own_external_id(name: str, limit: int) -> str:
    """Make an external id for a row that no provider has numbered: its name, or a digest of a long name."""
    return name if len(name) <= limit else _digest(name)


def numbered_ids(host: str, number: str) -> tuple[str, str]:
    """Return the external ids that rows may have for a number of a provider.

    It is the number itself, or with its host, where one with the number at another host was first.
    """
    return number, own_external_id(f"{host}:{number}", MAX_EXTERNAL_ID_CHARACTERS)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
