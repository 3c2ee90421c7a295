"""URLs of providers: their hosts, and what is below a base URL however it is written."""

from __future__ import annotations

from urllib.parse import unquote

from urllib3.util import Url

__all__ = ["host_of", "is_below", "port_of"]

MAX_DECODINGS = 4


def host_of(url: Url) -> str:
    """Return the name of the host, without the brackets of an IPv6 address."""
    return (url.host or "").strip("[]")


def port_of(url: Url) -> int:
    """Return the port, which may be that of the scheme."""
    return url.port or (443 if url.scheme == "https" else 80)


def is_below(base: str, path: str) -> bool:
    """Tell whether a path is below another one, however a server may decode it."""
    for _ in range(MAX_DECODINGS):
        path, encoded = unquote(path, errors="replace"), path
        # "/x/..;a=b/" climbs at servers that cut parameters off.
        segments = [segment.partition(";")[0] for segment in path.replace("\\", "/").split("/")]
        if not {".", ".."}.isdisjoint(segments):
            return False
        if path == encoded:
            top = unquote(base).strip("/").split("/") if base.strip("/") else []
            return segments[1 : len(top) + 1] == top
    return False
