"""Errors of requests to one host: what callers may read, and what operators may."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from flask_grpcweb_scm.scm.providers import (
    Credential,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.providers.reply import (
    MAX_FIELDS,
    SECONDARY_LIMIT_SECONDS,
    Complaint,
    error_class,
    parse_json,
    retry_after,
    short_line,
    way_out,
)

__all__ = ["HOST", "MOVED", "SIGNED_OUT", "HostErrors"]

logger = logging.getLogger(__name__)

HOST = "\0"
"""Stands in texts for the name of the host; no message of a provider has it, for it is not printable."""

SIGNED_OUT = "is base_url right, and is the token good?"
"""Advice for when a page to sign in on comes instead of a response."""
MOVED = "what the request names has moved; name it as it is called now"
SECONDARY_LIMITS = "rate limit", "abuse detection"


class HostErrors:
    """Errors whose texts for callers do not name the host, which may be one of this network.

    :param provider: kind of host, which callers are told in place of its name.
    :param explain: reads the JSON that came with an error status.
    :param error_kind: returns the class of an error by that JSON; None for that of its status.
    """

    def __init__(
        self,
        provider: str,
        explain: Callable[[Any], Complaint],
        error_kind: Callable[[Any], type[ProviderError] | None] | None,
    ) -> None:
        self.host = ""
        """Its name for operators."""
        self._provider = provider
        self._explain = explain
        self._error_kind = error_kind

    def make(
        self, kind: type[ProviderError], text: str, *, private: str | None = None, **evidence: Any
    ) -> ProviderError:
        """Make an error of a text with :data:`HOST` in it.

        :param private: the text for operators, where it is another one.
        """
        told, private = text.replace(HOST, self._provider), (private or text).replace(HOST, self.host)
        if told != private:
            logger.warning("%s: %s", self._provider, private)
        return kind(told, provider=self._provider, private=private, **evidence)

    def misconfigured(self, text: str, private: str | None = None, *, status: int | None = None) -> ProviderError:
        """Make the error for settings that cannot work."""
        return self.make(ProviderMisconfigured, text, private=private, status=status)

    def unexpected(self, status: int | None = None) -> ProviderError:
        """Make the error for a response that is none of this kind of provider."""
        text = f"unexpected response from {HOST}; is base_url right for {self._provider}?"
        return self.make(ProviderUnavailable, text, status=status, may_have_acted=True)

    def signed_out(self) -> ProviderError:
        """Make the error for a page to sign in on."""
        text = f"{HOST} sent a page to sign in on; {SIGNED_OUT}"
        return self.make(ProviderMisconfigured, text, may_have_acted=True)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, credential: Credential) -> ProviderError:
        """Make the error for a response that refuses a request.

        :param credential: of the request, which the response may repeat.
        """
        kind, text, fields = self._complaint(body, credential.redact)
        wait = retry_after(headers)
        is_limit = status in (403, 429) and any(words in text.lower() for words in SECONDARY_LIMITS)
        if wait is None and (is_limit or kind is ProviderRateLimited):
            # Of GitHub's secondary limits, which are not in its headers: "wait for at least one minute".
            wait = SECONDARY_LIMIT_SECONDS
        is_certain = kind not in {None, ProviderTimeout, ProviderUnavailable}
        kind = kind or error_class(status, wait)
        way = way_out(f"{text} {headers.get('x-authentication-denied-reason', '')}")
        if status in (301, 308):
            way = f"; {MOVED}"
        text = f"{self._provider} responded with {status}" + (f": {text}" if text else "") + way
        acted = status >= 500 or kind is ProviderTimeout or (status < 300 and not is_certain)
        return self.make(kind, text, status=status, retry_after=wait, fields=fields, may_have_acted=acted)

    def _complaint(
        self, body: bytes, show: Callable[[str], str]
    ) -> tuple[type[ProviderError] | None, str, Mapping[str, str]]:
        """Read the body of an error, as text for everybody."""
        try:
            error = parse_json(body)
            kind = None if self._error_kind is None else self._error_kind(error)
            text, fields = self._explain(error)
            some = itertools.islice(fields.items(), MAX_FIELDS)
            shown = {short_line(name): short_line(show(word)) for name, word in some}
            return kind, short_line(show(text)), shown
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            # Unknown to this provider: the page of a proxy, say, which is none of the caller's business.
            return None, "", {}
