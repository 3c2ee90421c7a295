"""The kinds of trackers: those of this package, and those that other packages add by entry points.

An entry point is loaded when an integration with its name as the provider needs it, and not before. One that cannot be
used is an error that names it; it takes the place of no other tracker.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from flask_grpcweb_scm.rpc import did_you_mean
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured
from flask_grpcweb_scm.scm.trackers.azure_devops import AzureDevOps
from flask_grpcweb_scm.scm.trackers.github import GitHub, GitHubEnterprise
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab
from flask_grpcweb_scm.scm.trackers.issues import TrackerField
from flask_grpcweb_scm.scm.trackers.jira import JiraCloud, JiraDataCenter
from flask_grpcweb_scm.scm.trackers.roundup import Roundup
from flask_grpcweb_scm.scm.trackers.tracker import Tracker

__all__ = [
    "GROUP",
    "SETTINGS",
    "TRACKERS",
    "KindOfTracker",
    "has_tracker",
    "list_trackers",
    "tracker_class",
    "unusable",
]

logger = logging.getLogger(__name__)

GROUP = "flask_grpcweb_scm.trackers"
"""Of entry points: the name is the provider of integrations, the object a subclass of :class:`Tracker`."""
TRACKERS: Mapping[str, type[Tracker]] = {
    tracker.kind: tracker
    for tracker in (GitHub, GitHubEnterprise, GitLab, AzureDevOps, JiraCloud, JiraDataCenter, Roundup)
}
"""Those of this package."""
SETTINGS = frozenset({"comment_on_link", "markup", "owner", "projects"})
"""Keys of an installation's configuration that are no fields of issues."""


class KindOfTracker(NamedTuple):
    """A kind of tracker that integrations may name."""

    provider: str
    origin: str
    """The entry point and its package; empty for a tracker of this package."""
    tracker: type[Tracker] | None
    problem: str
    """The reason that it cannot be used; empty when it can."""


def tracker_class(provider: str) -> type[Tracker]:
    """Return the tracker of a provider.

    :raises ProviderMisconfigured: when there is none, or its entry point cannot be used.
    """
    points = _entry_points().get(provider, ())
    if not points and provider in TRACKERS:
        return TRACKERS[provider]
    if not points:
        names = [*TRACKERS, *_entry_points()]
        text = f"there is no tracker {provider!r}{did_you_mean(provider, names)}"
        more = f"; one of another package needs an entry point {provider!r} in the group {GROUP}"
        raise ProviderMisconfigured(text + more, provider=provider)
    if provider in TRACKERS:
        text = f"{_named(points)} has the name of a tracker of flask_grpcweb_scm; give it another one, or uninstall it"
        raise ProviderMisconfigured(text, provider=provider)
    if len(points) > 1:
        text = f"{_named(points)} have the same name; uninstall all but one, or give them other names"
        raise ProviderMisconfigured(text, provider=provider)
    return _loaded(points[0])


def has_tracker(provider: str) -> bool:
    """Tell whether a provider has a tracker, without loading it."""
    return provider in TRACKERS or provider in _entry_points()


def list_trackers() -> Iterator[KindOfTracker]:
    """Yield all kinds of trackers, those of other packages last."""
    others = _entry_points()
    for provider in dict.fromkeys((*TRACKERS, *others)):
        tracker, problem = None, ""
        try:
            tracker = tracker_class(provider)
        except ProviderMisconfigured as error:
            problem = error.private
        yield KindOfTracker(provider, _named(others.get(provider, ())), tracker, problem)


@functools.cache
def _entry_points() -> Mapping[str, Sequence[EntryPoint]]:
    """Return the entry points by name: once, because all installed packages are looked through."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        same_name = found.setdefault(point.name, [])
        # A package may be found twice: in a checkout, and where it is installed.
        if point.value not in {other.value for other in same_name}:
            same_name.append(point)
    return found


def _named(points: Sequence[EntryPoint]) -> str:
    names = []
    for point in points:
        package = "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"
        names.append(f"'{point.name} = {point.value}'{package}")
    return f"the entry point{'s' if len(names) > 1 else ''} {' and '.join(names)}" if names else ""


def _loaded(point: EntryPoint) -> type[Tracker]:
    named = _named([point])
    try:
        tracker = point.load()
    except Exception as error:  # the code of another package may raise anything
        text = f"{named} cannot be loaded ({type(error).__name__}); the log says why: repair or reinstall its package"
        logger.exception("%s cannot be loaded", named)
        private = f"{named} cannot be loaded: {type(error).__name__}: {error}; repair or reinstall its package"
        raise ProviderMisconfigured(text, provider=point.name, private=private) from error
    if problem := unusable(tracker, point.name):
        raise ProviderMisconfigured(f"{named} cannot be used: {problem}", provider=point.name)
    loaded: type[Tracker] = tracker
    return loaded


def unusable(tracker: object, provider: str) -> str:
    """Say why a class cannot be the tracker of a provider, and what would help; nothing when it can."""
    if not isinstance(tracker, type) or not issubclass(tracker, Tracker):
        return f"{tracker!r:.200} is no subclass of flask_grpcweb_scm.trackers.Tracker"
    if inspect.isabstract(tracker):
        return f"{tracker.__name__} lacks {', '.join(sorted(tracker.__abstractmethods__))}; add them"
    kind = getattr(tracker, "kind", None)
    if kind != provider:
        return f"{tracker.__name__}.kind must be {provider!r}, the name of the entry point, got {kind!r}"
    if not isinstance(tracker.required, Mapping):
        return f"{tracker.__name__}.required must be a mapping of fields to patterns, got {tracker.required!r:.200}"
    names = [*tracker.required, *(field.name for field in tracker.fields if isinstance(field, TrackerField))]
    if taken := sorted(SETTINGS.intersection(names)):
        return f"{tracker.__name__} has a field {taken[0]!r}, which is a setting of integrations; call it otherwise"
    if tracker.project_field is not None and tracker.project_field not in tracker.required:
        return f"{tracker.__name__}.project_field is {tracker.project_field!r}, which is none of required; add it there"
    for name, pattern in tracker.required.items():
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            return f"{tracker.__name__}.required[{name!r}] is no regular expression: {error}"
    return ""
