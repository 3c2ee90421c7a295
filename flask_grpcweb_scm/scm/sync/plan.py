"""The plan of a sync: what a listing of a provider's repositories changes in those of an organization.

Pure: a listing and rows make a list of actions. Repositories are known by the provider's number, so that a name which
another one has now is a rename, and not another repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flask_grpcweb_scm.scm.database.models import RepositoryStatus
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.remotes import (
    MAX_EXTERNAL_ID_CHARACTERS,
    numbered_ids,
    parse_remote,
    public_url,
    remote_of,
    without_credentials,
)

__all__ = ["Account", "Action", "KnownRepository", "ListedRepository", "plan_sync"]

MAX_NAME_CHARACTERS = 200
MAX_BRANCH_CHARACTERS = 255
EXISTING = {RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED, RepositoryStatus.HIDDEN}


class ListedRepository(NamedTuple):
    """A repository as its provider lists it."""

    number: str
    """The provider's own id, which stays when it is renamed or transferred."""
    name: str
    """With its owner or group: ``owner/name``."""
    url: str
    """To clone it over HTTP."""
    default_branch: str
    """Empty when it has none."""
    is_archived: bool


class KnownRepository(NamedTuple):
    """A row of the organization."""

    id: int
    integration_id: int | None
    provider: str
    external_id: str | None
    name: str
    url: str
    default_branch: str
    status: RepositoryStatus
    remote: str | None = None
    """Key of its remote."""
    host: str | None = None
    """Of its integration, which numbers it; None when any may have done so."""
    is_numbered: bool = True
    """False when `external_id` stands for a number that no provider has said."""
    is_marked: bool = False
    """True for one that a sync has disabled or hidden, and not a person."""
    path: str = ""
    """The provider's name of it, where its own is another one."""


class Account(NamedTuple):
    """The integration that has listed."""

    integration_id: int
    provider: str
    """Its name, without a prefix."""
    host: str


@dataclass(frozen=True, slots=True)
class Action:
    """A change of one row, or none."""

    kind: str
    """``add``, ``adopt``, ``rename``, ``update``, ``archive``, ``unarchive``, ``hide``, ``unhide``, ``hand over``,
    ``keep``, or ``skip`` for what cannot be stored."""
    name: str
    repository_id: int | None = None
    """None for a new row."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Columns and their new values."""
    reason: str = ""
    """For a person to read."""
    is_marked: bool = False
    """True when a sync has disabled or hidden the row, once this is done."""


def plan_sync(
    account: Account,
    listed: Sequence[ListedRepository],
    known: Sequence[KnownRepository],
    *,
    is_complete: bool,
    elsewhere: Mapping[str, int] | None = None,
) -> list[Action]:
    """Return an action for each listed repository, and for each of the integration that is listed no longer.

    :param known: all rows of the organization.
    :param is_complete: False for a listing that was cut off: what is missing in it may be there all the same.
    :param elsewhere: other integrations of the organization at this host, by the numbers that they have listed.
    """
    actions: list[Action] = []
    numbered = _by_external_id(account, known)
    numbers = {repository.number: repository for repository in listed}
    same = {number: _numbered(account, number, numbered) for number in numbers}
    taken = {row.id for rows in same.values() for row in rows}
    for number, repository in numbers.items():
        rows = same[number]
        if not rows:
            rows = _with_remote(account, repository, [row for row in known if row.id not in taken])
            taken |= {row.id for row in rows[:1]}
        problem = _problem(repository)
        if problem:
            actions.append(Action("skip", repository.name, rows[0].id if rows else None, reason=problem))
        elif not rows:
            actions.append(_add(account, repository, known))
        elif rows[0].status not in EXISTING:
            actions.append(Action("skip", repository.name, rows[0].id, reason="its row is being deleted"))
        else:
            actions.append(_change(account, repository, rows[0], known, others=rows[1:]))
    if is_complete:
        actions += _missing(account, [row for row in known if row.id not in taken], elsewhere or {})
    return actions


def _by_external_id(account: Account, known: Sequence[KnownRepository]) -> dict[str, list[KnownRepository]]:
    """Return the rows that the account's provider has numbered at its host."""
    rows: dict[str, list[KnownRepository]] = {}
    for row in known:
        is_of_host = row.host is None or row.host == account.host
        if provider_name(row.provider) == account.provider and row.external_id and row.is_numbered and is_of_host:
            rows.setdefault(row.external_id, []).append(row)
    return rows


def _numbered(account: Account, number: str, rows: Mapping[str, list[KnownRepository]]) -> list[KnownRepository]:
    """Return the rows with a number; the one that counts comes first."""
    same = [row for external_id in numbered_ids(account.host, number) for row in rows.get(external_id, ())]
    return sorted(
        same, key=lambda row: (row.status not in EXISTING, row.integration_id != account.integration_id, row.id)
    )


def _with_remote(
    account: Account, repository: ListedRepository, rows: Sequence[KnownRepository]
) -> list[KnownRepository]:
    """Return rows without a number whose remote is the repository's; the one with its name, else the oldest first."""
    there = parse_remote(repository.url)
    if there is None or there.host != account.host:
        return []  # nobody has a say in repositories of other hosts
    # Providers do not tell upper and lower case apart.
    remote, name = (remote_of(repository.url) or "").lower(), repository.name.lower()
    same = [
        row
        for row in rows
        if remote and (row.remote or "").lower() == remote and not row.is_numbered and row.status in EXISTING
    ]
    return sorted(same, key=lambda row: (row.name.lower() != name, row.id))


def _problem(repository: ListedRepository) -> str:
    texts = (repository.number, repository.name, repository.url)
    if not all(text and text.isprintable() for text in texts):
        return "its name or its URL is empty, or has characters that cannot be stored"
    if len(repository.number) > MAX_EXTERNAL_ID_CHARACTERS:
        return f"its number has more than {MAX_EXTERNAL_ID_CHARACTERS} characters"
    return ""


def _stored(repository: ListedRepository) -> dict[str, object]:
    """Return the columns that are as the provider has them."""
    name, branch = repository.name, repository.default_branch
    if len(name) > MAX_NAME_CHARACTERS:
        # Its end, for that is its own name; the groups before it are others' too.
        name = "…" + name[1 - MAX_NAME_CHARACTERS :]
    is_storable = len(branch) <= MAX_BRANCH_CHARACTERS and branch.isprintable()
    return {
        "name": name,
        "url": public_url(repository.url) or without_credentials(repository.url),
        "default_branch": branch if is_storable else "",
        "path": repository.name if name != repository.name else "",
    }


def _add(account: Account, repository: ListedRepository, known: Sequence[KnownRepository]) -> Action:
    status = RepositoryStatus.DISABLED if repository.is_archived else RepositoryStatus.ACTIVE
    values = {
        **_stored(repository),
        "integration_id": account.integration_id,
        "provider": account.provider,
        "external_id": _free_external_id(account, repository.number, known),
        "status": status,
    }
    return Action("add", repository.name, values=values, is_marked=repository.is_archived)


def _free_external_id(account: Account, number: str, known: Sequence[KnownRepository]) -> str:
    plain, with_host = numbered_ids(account.host, number)
    # Numbers are unique at one host, and a row of another host may have this one.
    is_taken = any(row.external_id == plain and provider_name(row.provider) == account.provider for row in known)
    return with_host if is_taken else plain


def _change(
    account: Account,
    repository: ListedRepository,
    row: KnownRepository,
    known: Sequence[KnownRepository],
    *,
    others: Sequence[KnownRepository],
) -> Action:
    values: dict[str, object] = _stored(repository)
    if not values["default_branch"]:
        del values["default_branch"]
    if row.integration_id is None or (row.is_marked and row.status is RepositoryStatus.HIDDEN):
        values["integration_id"] = account.integration_id
    if not row.is_numbered:
        external_id = _free_external_id(account, repository.number, [other for other in known if other is not row])
        values |= {"provider": account.provider, "external_id": external_id}
    values["status"], is_marked = _status(repository, row)
    current = {**row._asdict()}
    changed = {name: value for name, value in values.items() if current[name] != value}
    kind = _kind(changed, row)
    reasons = [f"was {row.name!r}"] if "name" in changed else []
    if not row.is_numbered:
        reasons.append("it has this remote")
    if others:
        reasons.append(f"so have the rows {', '.join(str(other.id) for other in others)}, which stay as they are")
    return Action(kind, repository.name, row.id, changed, "; ".join(reasons), is_marked)


def _status(repository: ListedRepository, row: KnownRepository) -> tuple[RepositoryStatus, bool]:
    """Return the status of a repository that is listed, and whether that is a sync's; what people have set stays."""
    if row.status is not RepositoryStatus.ACTIVE and not row.is_marked:
        return row.status, False
    return (RepositoryStatus.DISABLED, True) if repository.is_archived else (RepositoryStatus.ACTIVE, False)


def _kind(changed: Mapping[str, object], row: KnownRepository) -> str:
    if not row.is_numbered:
        return "adopt"
    if "status" in changed:
        if row.status is RepositoryStatus.HIDDEN:
            return "unhide"
        return "archive" if changed["status"] is RepositoryStatus.DISABLED else "unarchive"
    return "rename" if "name" in changed else "update" if changed else "keep"


def _missing(account: Account, rows: Sequence[KnownRepository], elsewhere: Mapping[str, int]) -> Iterator[Action]:
    """Yield what becomes of rows of the integration that it does not list any more."""
    others = {
        external_id: other for number, other in elsewhere.items() for external_id in numbered_ids(account.host, number)
    }
    for row in rows:
        if row.integration_id != account.integration_id or not row.is_numbered or row.status not in EXISTING:
            continue
        if row.external_id in others:
            values: dict[str, object] = {"integration_id": others[row.external_id]}
            yield Action("hand over", row.name, row.id, values, "another integration sees it", row.is_marked)
        elif row.status is RepositoryStatus.HIDDEN or (row.status is not RepositoryStatus.ACTIVE and not row.is_marked):
            # What a person has disabled stays so, also when it is seen again.
            yield Action("keep", row.name, row.id, is_marked=row.is_marked)
        else:
            values = {"status": RepositoryStatus.HIDDEN}
            yield Action("hide", row.name, row.id, values, "the integration does not see it any more", True)
