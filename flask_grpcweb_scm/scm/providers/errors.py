"""What can go wrong with a tracker, as exceptions that carry the evidence."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "CredentialRefused",
    "TrackerConflict",
    "TrackerError",
    "TrackerForbidden",
    "TrackerMisconfigured",
    "TrackerNotFound",
    "TrackerRateLimited",
    "TrackerRejected",
    "TrackerTimeout",
    "TrackerUnavailable",
]


class TrackerError(Exception):
    """A tracker, or another API of a provider, did not do what it was asked.

    The text may go to callers: it has the tracker's own message at most, and no credential.

    :param tracker: what kind of host it is, such as ``github``.
    :param status: the HTTP status it answered; None when it answered nothing.
    :param retry_after: seconds after which it wants to be asked again; None when it did not say.
    :param fields: what it says is wrong, by field.
    :param may_have_acted: whether it may have carried the request out all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        tracker: str,
        status: int | None = None,
        retry_after: float | None = None,
        fields: Mapping[str, str] | None = None,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(message)
        self.tracker = tracker
        self.status = status
        self.retry_after = retry_after
        self.fields: Mapping[str, str] = fields or {}
        self.may_have_acted = may_have_acted

    def add(self, text: str) -> None:
        """Say more."""
        self.args = (f"{self}; {text}",)


class TrackerMisconfigured(TrackerError):
    """An integration's settings cannot work: its URL, its credentials, or the tracker itself."""


class CredentialRefused(TrackerMisconfigured):
    """The tracker does not accept the integration's credentials."""


class TrackerForbidden(TrackerError):
    """The integration's credentials do not allow this."""


class TrackerNotFound(TrackerError):
    """What was asked for does not exist, or the integration's credentials do not reach it."""


class TrackerConflict(TrackerError):
    """Another change got in the way."""


class TrackerRejected(TrackerError):
    """The tracker found the request wrong; see :attr:`TrackerError.fields`."""


class TrackerRateLimited(TrackerError):
    """The tracker has been asked too often; see :attr:`TrackerError.retry_after`."""


class TrackerUnavailable(TrackerError):
    """The tracker cannot be reached, failed, or answered what nobody can read."""


class TrackerTimeout(TrackerError):
    """The deadline passed before the tracker had answered."""
