"""Keys of a configuration that nobody reads, and that were meant to be ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from flask_grpcweb_scm.rpc import nearest

__all__ = ["PREFIX", "UnknownKey", "unknown_keys"]

PREFIX = "GRPC_"
NEARLY_OURS = 0.9
"""Similarity of a key with another prefix, such as ``GPRC_AUTH_TOKENS``, to the key that was meant."""
_MAYBE_OURS = re.compile("(?:FLASK_)?[GRPC]{3}", re.IGNORECASE)
_CREDENTIALS = re.compile("AUTH|TOKEN|SECRET|HMAC|CREDENTIAL|PASSWORD|PUBLIC")


class UnknownKey(NamedTuple):
    """A key of a configuration that is none of ours, and looks as if it was meant to be."""

    message: str
    is_about_credentials: bool


def unknown_keys(config: Mapping[str, Any], ours: Collection[str], ignored: Collection[str]) -> Iterator[UnknownKey]:
    """Find the keys that nobody reads: with the prefix ``GRPC_``, or with another one and nearly one of ours.

    :param ours: the keys that are read.
    :param ignored: keys of other packages.
    """
    known = {key.removeprefix(PREFIX) for key in ours}
    # Flask makes {"GRPC": {"AUTH_TOKENS": …}} of FLASK_GRPC__AUTH_TOKENS.
    nested = config.get("GRPC")
    keys = [*config, *(f"{PREFIX}_{key}" for key in nested)] if isinstance(nested, Mapping) else [*config]
    for key in sorted(filter(_MAYBE_OURS.match, {*keys} - {*ours} - {*ignored})):
        if key.upper().startswith(PREFIX):
            near = nearest(key.upper().removeprefix(PREFIX).strip("_"), known)
        else:
            meant = nearest(key.upper().removeprefix("FLASK_"), ours, NEARLY_OURS)
            if meant is None:
                continue
            near = meant.removeprefix(PREFIX)
        hint = f"; did you mean {PREFIX + near!r}?" if near else "."
        message = f"configuration key {key} is unknown{hint} If another package reads it, name it in GRPC_IGNORED_KEYS."
        yield UnknownKey(message, _CREDENTIALS.search(f"{key.upper()} {near}") is not None)
