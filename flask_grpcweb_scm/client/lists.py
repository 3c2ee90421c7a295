"""Lists of records with what their responses say besides, pages one after the other, and providers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from flask_grpcweb_scm.client.call import Call, all_pages
from flask_grpcweb_scm.client.records import (
    CodeMapping,
    FrameOutcome,
    PathOutcome,
    Record,
    SuspectCommit,
    enum_name,
    new_message,
)
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import did_you_mean

__all__ = ["DerivedMappings", "Page", "SuspectCommits", "every_record", "line_of_file", "provider_number", "records_of"]

R = TypeVar("R", bound=Record)

_PROVIDERS = {enum_name(scm_pb2.Provider.DESCRIPTOR, number): number for number in scm_pb2.Provider.values()}


class Page(list[R]):
    """Records of one page of a list, and the token of the next page; empty on the last page."""

    def __init__(self, records: Iterable[R], next_page_token: str) -> None:
        super().__init__(records)
        self.next_page_token = next_page_token


class DerivedMappings(list[CodeMapping]):
    """Code mappings in order of precedence, and the outcome for each path and frame of the request."""

    def __init__(self, mappings: Iterable[CodeMapping], outcomes: Iterable[PathOutcome]) -> None:
        super().__init__(mappings)
        self.outcomes: list[PathOutcome] = list(outcomes)

    @classmethod
    def from_message(cls, response: scm_pb2.DeriveCodeMappingsResponse) -> DerivedMappings:
        """Make the list of a response."""
        return cls(map(CodeMapping.from_message, response.mappings), map(PathOutcome.from_message, response.outcomes))


class SuspectCommits(list[SuspectCommit]):
    """Commits that probably broke what a stack trace shows, the most suspicious first, and outcomes of its frames."""

    def __init__(self, suspects: Iterable[SuspectCommit], frames: Iterable[FrameOutcome]) -> None:
        super().__init__(suspects)
        self.frames: list[FrameOutcome] = list(frames)

    @classmethod
    def from_message(cls, response: scm_pb2.FindSuspectCommitsResponse) -> SuspectCommits:
        """Make the list of a response."""
        return cls(map(SuspectCommit.from_message, response.suspects), map(FrameOutcome.from_message, response.frames))


def line_of_file(filepath: str, line_number: int, commit_sha: str = "") -> scm_pb2.LineOfFile:
    """Make a line of a request."""
    return new_message(scm_pb2.LineOfFile, filepath=filepath, line_number=line_number, commit_sha=commit_sha)


def records_of(call: Call[Any], record: type[R]) -> Iterator[R]:
    """Yield the messages of a stream, whose call ends with them."""
    with call:
        yield from map(record.from_message, call)


def every_record(fetch: Callable[..., Page[R]]) -> Iterator[R]:
    """Yield the records of all pages, each fetched when it is needed."""
    for page in all_pages(lambda token: fetch(page_token=token), len):
        yield from page


def provider_number(provider: str | int) -> scm_pb2.Provider.ValueType:
    """Return the number of a provider by its name.

    :raises ValueError: for a name that no provider has.
    """
    if isinstance(provider, str):
        if provider not in _PROVIDERS:
            raise ValueError(f"there is no provider {provider!r}{did_you_mean(provider, _PROVIDERS)}")
        return _PROVIDERS[provider]
    return scm_pb2.Provider.ValueType(provider)
