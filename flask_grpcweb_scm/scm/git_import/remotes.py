"""URLs of git remotes: their public part, and the provider of their host."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["guess_provider", "public_url"]

PROVIDERS_BY_HOST = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "bitbucket.org": "bitbucket",
    "dev.azure.com": "vsts",
    "ssh.dev.azure.com": "vsts",
}

# "[<user>@]<host>:/<path-to-git-repo>" (git-fetch, "Git URLs"); a slash before the colon makes it a local path.
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@:/\s]+)@)?(?P<host>[^@:/\s]{2,}):(?!//)(?P<path>[^\s]+)")
_SCHEMES = {"https", "http", "ssh", "git", "git+ssh", "ssh+git"}


def public_url(remote: str) -> str:
    """Remove passwords and tokens from the URL of a remote; empty for a path of this machine."""
    if _SCP_LIKE.fullmatch(remote):
        return remote
    try:
        url = urlsplit(remote)
        host, port = url.hostname, url.port
    except ValueError:
        return ""
    if url.scheme not in _SCHEMES or not host:
        return ""
    place = f"[{host}]" if ":" in host else host
    user = f"{url.username}@" if "ssh" in url.scheme and url.username else ""
    return urlunsplit((url.scheme, f"{user}{place}{f':{port}' if port else ''}", url.path, "", ""))


def guess_provider(remote: str) -> str:
    """Return the provider of a remote's host; empty for an unknown one."""
    scp_like = _SCP_LIKE.fullmatch(remote)
    try:
        host = scp_like["host"] if scp_like else urlsplit(remote).hostname
    except ValueError:
        return ""
    host = (host or "").lower()
    return "vsts" if host.endswith(".visualstudio.com") else PROVIDERS_BY_HOST.get(host, "")
