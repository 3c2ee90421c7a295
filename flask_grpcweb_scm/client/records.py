"""Python values to messages, and results as Python values: ``issue.key`` and ``issue["key"]`` are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.rpc.json_codec.fields import is_repeated
from flask_grpcweb_scm.wire import StatusCode

__all__ = [
    "CodeMapping",
    "Commit",
    "CommitAuthor",
    "CommitContext",
    "CommitContextOutcome",
    "ExternalIssue",
    "FoundExternalIssue",
    "FrameOutcome",
    "Group",
    "Integration",
    "PathOutcome",
    "Project",
    "Record",
    "Repository",
    "StackFrame",
    "SuspectCommit",
    "TrackerField",
    "enum_name",
    "new_message",
]

M = TypeVar("M", bound=Message)
T = TypeVar("T", bound="Record")


@dataclass(frozen=True, slots=True)
class Record(Mapping[str, Any]):
    """A message of :mod:`flask_grpcweb_scm.pb.scm_pb2` as Python values, by attribute and by key.

    Timestamps are aware datetimes and durations timedeltas, lists are lists and maps dicts, values of enums are
    lower-case names without their prefix (``""`` for unspecified); what is absent is None.
    """

    @classmethod
    def from_message(cls: type[T], message: Message) -> T:
        """Convert a message that has the fields of this class."""
        return cls(**{field.name: _value(message, field.name) for field in fields(cls)})

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dataclass_fields__)

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class CommitAuthor(Record):
    """The author of a commit."""

    name: str
    email: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Repository(Record):
    """A repository of an organization."""

    id: int
    organization_id: int
    name: str
    url: str
    provider: str
    external_id: str
    status: str
    date_added: datetime | None
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Commit(Record):
    """A commit of a repository; ``key`` is its SHA."""

    id: str
    repository_id: int
    key: str
    message: str
    author: CommitAuthor | None
    date_added: datetime | None
    more_changes: bool


@dataclass(frozen=True, slots=True)
class CommitContext(Record):
    """The commit that last changed a line."""

    repository_id: int
    commit_id: str
    filename: str
    line_number: int
    blame_commit_id: str
    blame_author: CommitAuthor | None
    code_snippet: str
    blame_date: datetime | None
    approximate: bool
    approximate_reason: str


@dataclass(frozen=True, slots=True)
class CommitContextOutcome(Record):
    """The outcome for one line of a batch: its context, or the status code and message of the error."""

    context: CommitContext | None
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class CodeMapping(Record):
    """A mapping of paths in stack traces to paths in a repository."""

    id: int
    organization_id: int
    project_id: int
    repository_id: int
    stack_root: str
    source_root: str
    default_branch: str
    automatically_generated: bool


@dataclass(frozen=True, slots=True)
class PathOutcome(Record):
    """The outcome for one path or frame of a stack trace."""

    path: str
    outcome: str
    code_mapping_id: int
    source_path: str
    reason: str
    repository_id: int
    branch: str
    source_url: str


@dataclass(frozen=True, slots=True)
class StackFrame(Record):
    """A frame of a stack trace; ``in_app`` is None when nothing decided about it."""

    path: str
    module: str
    abs_path: str
    platform: str
    function: str
    line: int
    in_app: bool | None


@dataclass(frozen=True, slots=True)
class FrameOutcome(Record):
    """The outcome for one frame: its file, and the commit that last changed its line."""

    frame: StackFrame | None
    path: PathOutcome | None
    commit_id: str
    source_url: str
    blame: CommitContext | None
    code: int
    message: str
    no_suspect_reason: str


@dataclass(frozen=True, slots=True)
class SuspectCommit(Record):
    """A commit that probably broke what a stack trace shows; ``frames`` are places in those of the response."""

    repository_id: int
    commit_id: str
    author: CommitAuthor | None
    date: datetime | None
    subject: str
    url: str
    frames: list[int]
    age: timedelta | None
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class ExternalIssue(Record):
    """An issue at a tracker, or a local one; ``state_time`` is when the tracker was last read."""

    id: int
    organization_id: int
    integration_id: int
    key: str
    title: str
    description: str
    web_url: str
    metadata: dict[str, str]
    status: str = ""
    assignee: str = ""
    state: str = ""
    state_time: datetime | None = None
    moved_to: str = ""


@dataclass(frozen=True, slots=True)
class Project(Record):
    """A collection of an organization's errors."""

    id: int
    organization_id: int
    slug: str
    name: str
    platform: str
    date_added: datetime | None


@dataclass(frozen=True, slots=True)
class Integration(Record):
    """An account at a provider, as it is installed in an organization."""

    id: int
    organization_id: int
    provider: str
    name: str
    external_id: str
    has_tracker: bool
    lists_repositories: bool
    date_added: datetime | None


@dataclass(frozen=True, slots=True)
class Group(Record):
    """Errors that have one cause."""

    id: int
    organization_id: int
    project_id: int
    short_id: int
    title: str
    first_seen: datetime | None


@dataclass(frozen=True, slots=True)
class TrackerField(Record):
    """A field of issues at a tracker."""

    name: str
    label: str
    type: str
    required: bool
    allowed_values: list[str]
    default_value: str


@dataclass(frozen=True, slots=True)
class FoundExternalIssue(Record):
    """An issue as its tracker shows it."""

    key: str
    title: str
    web_url: str
    status: str
    assignee: str


def enum_name(descriptor: EnumDescriptor, number: int) -> str:
    """Name a value of an enum: ``PROVIDER_GITHUB`` → ``"github"``, unspecified → ``""``, unknown → its number."""
    if number == 0:
        return ""
    value = descriptor.values_by_number.get(number)
    # All names begin with that of the first, PROVIDER_UNSPECIFIED.
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(number) if value is None else value.name.removeprefix(prefix).lower()


def _value(message: Message, name: str) -> Any:
    value = getattr(message, name)
    field: Any = message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        return enum_name(field.enum_type, value)
    if field.message_type is None:
        if is_repeated(field):
            return list(value)
        return value if not field.has_presence or message.HasField(name) else None
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    if not message.HasField(name):
        return None
    if isinstance(value, Timestamp | Duration):
        try:
            return value.ToDatetime(tzinfo=timezone.utc) if isinstance(value, Timestamp) else value.ToTimedelta()
        except (ValueError, OverflowError):
            text = f"the server sent a {message.DESCRIPTOR.full_name} whose {name} is in no calendar"
            raise CallError(StatusCode.INTERNAL, text) from None
    return _NESTED[field.message_type.name].from_message(value)


_NESTED: dict[str, type[Record]] = {
    record.__name__: record for record in (CommitAuthor, CommitContext, PathOutcome, StackFrame)
}


def new_message(message_class: type[M], **values: Any) -> M:
    """Make a message; other than protobuf's own errors, those raised here name the field.

    :raises TypeError: for a value of another type.
    :raises ValueError: for a value out of range.
    """
    declared: Mapping[str, Any] = message_class.DESCRIPTOR.fields_by_name
    for name, value in values.items():
        if name in declared and is_repeated(declared[name]) and not isinstance(value, (Mapping, type(None))):
            # As an iterable, a text would be a list of its characters.
            if isinstance(value, (str, bytes)):
                raise TypeError(f"{message_class.DESCRIPTOR.name}.{name} is a list, got {value!r:.100}")
            values[name] = list(value)
    try:
        return message_class(**values)
    except (TypeError, ValueError):
        for name, value in values.items():
            try:
                message_class(**{name: value})
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{message_class.DESCRIPTOR.name}.{name} cannot be {value!r:.100}: {error}") from None
        raise
