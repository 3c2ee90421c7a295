"""The plan of a sync: what a listing of a provider's repositories changes in those of an organization.

Pure: a listing and rows make a list of actions. Repositories are known by the provider's number, so that a name which
another one has now is a rename, and not another repository.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flask_grpcweb_scm.scm.database.models import RepositoryStatus
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.remotes import (
    MAX_EXTERNAL_ID_CHARACTERS,
    numbered_ids,
    parse_remote,
    public_url,
    without_credentials,
)

__all__ = ["Account", "Action", "KnownRepository", "ListedRepository", "plan_sync"]

MAX_NAME_CHARACTERS = 200
MAX_BRANCH_CHARACTERS = 255
MAX_URL_CHARACTERS = 8000
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
    synced_status: RepositoryStatus | None = None
    """The status that syncs have set; None counts as active."""
    path: str = ""
    """The provider's name of it, where its own is another one."""

    @property
    def is_by_hand(self) -> bool:
        """True when a person has set the status."""
        return self.status is not (self.synced_status or RepositoryStatus.ACTIVE)


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
    values: Mapping[str, object] = field(default_factory=dict)
    """Columns and their new values."""
    reason: str = ""
    """For a person to read."""
    before: KnownRepository | None = None
    """The row as it was planned for; None for a new one."""

    @property
    def repository_id(self) -> int | None:
        """The row's id; None for a new one."""
        return None if self.before is None else self.before.id


def plan_sync(
    account: Account,
    listed: Sequence[ListedRepository],
    known: Sequence[KnownRepository],
    *,
    is_complete: bool,
    elsewhere: Mapping[str, int] | None = None,
    owners: Collection[int] | None = None,
) -> list[Action]:
    """Return an action for each listed repository, and for each of the integration that is listed no longer.

    :param known: all rows of the organization.
    :param is_complete: False for a listing that was cut off: what is missing in it may be there all the same.
    :param elsewhere: other integrations of the organization at this host, by the numbers that they have listed.
    :param owners: the integrations that repositories may stay with; None for all of them.
    """
    actions: list[Action] = []
    numbered = _by_external_id(account, known)
    numbers = {repository.number: repository for repository in listed}
    same = {number: _numbered(account, repository, numbered) for number, repository in numbers.items()}
    taken = {row.id for rows in same.values() for row in rows}
    unnumbered = _by_remote(known)
    used = {row.external_id: row.id for row in known if provider_name(row.provider) == account.provider}
    for number, repository in numbers.items():
        rows = same[number]
        if not rows:
            rows = [row for row in _with_remote(account, repository, unnumbered) if row.id not in taken]
            taken |= {row.id for row in rows[:1]}
        problem = _problem(repository)
        if problem:
            actions.append(Action("skip", repository.name, reason=problem, before=rows[0] if rows else None))
        elif not rows:
            actions.append(_add(account, repository, used))
        elif rows[0].status not in EXISTING:
            actions.append(Action("skip", repository.name, reason="its row is being deleted", before=rows[0]))
        else:
            is_lost = owners is not None and rows[0].integration_id not in owners
            actions.append(_change(account, repository, rows[0], used, others=rows[1:], is_lost=is_lost))
    if is_complete:
        actions += _missing(account, [row for row in known if row.id not in taken], elsewhere or {})
    return actions


def _by_external_id(account: Account, known: Sequence[KnownRepository]) -> dict[str, list[KnownRepository]]:
    """Return the rows that the account's provider has numbered."""
    rows: dict[str, list[KnownRepository]] = {}
    for row in known:
        if provider_name(row.provider) == account.provider and row.external_id and row.is_numbered:
            rows.setdefault(row.external_id, []).append(row)
    return rows


def _numbered(
    account: Account, repository: ListedRepository, rows: Mapping[str, list[KnownRepository]]
) -> list[KnownRepository]:
    """Return the rows with the number of a repository, of its host; the one that counts comes first."""
    ids = numbered_ids(account.host, repository.number)
    numbered = [row for external_id in ids for row in rows.get(external_id, ())]
    same = [row for row in numbered if _is_of_host(account, repository, row)]
    return sorted(
        same, key=lambda row: (row.status not in EXISTING, row.integration_id != account.integration_id, row.id)
    )


def _is_of_host(account: Account, repository: ListedRepository, row: KnownRepository) -> bool:
    if row.host is not None:
        return row.host == account.host
    # Its integration is gone, so that its remote tells who has numbered it.
    before, now = parse_remote(row.url), parse_remote(repository.url)
    return before is None or before.host == account.host or (now is not None and before.host == now.host)


def _by_remote(known: Sequence[KnownRepository]) -> dict[str, list[KnownRepository]]:
    """Return the rows without a number by their remotes, in lower case: providers do not tell that apart."""
    rows: dict[str, list[KnownRepository]] = {}
    for row in known:
        if row.remote and not row.is_numbered and row.status in EXISTING:
            rows.setdefault(row.remote.lower(), []).append(row)
    return rows


def _with_remote(
    account: Account, repository: ListedRepository, rows: Mapping[str, list[KnownRepository]]
) -> list[KnownRepository]:
    """Return rows without a number whose remote is the repository's; the one with its name, else the oldest first."""
    there = parse_remote(repository.url)
    if there is None or there.host != account.host:
        return []  # nobody has a say in repositories of other hosts
    name = repository.name.lower()
    return sorted(rows.get(there.key.lower(), ()), key=lambda row: (row.name.lower() != name, row.id))


def _problem(repository: ListedRepository) -> str:
    texts = (repository.number, repository.name, repository.url)
    if not all(text and text.isprintable() for text in texts):
        return "its name or its URL is empty, or has characters that cannot be stored"
    if len(repository.number) > MAX_EXTERNAL_ID_CHARACTERS:
        return f"its number has more than {MAX_EXTERNAL_ID_CHARACTERS} characters"
    if "/" not in repository.name:
        return "its name is without an owner"
    if len(repository.url) > MAX_URL_CHARACTERS:
        return f"its URL has more than {MAX_URL_CHARACTERS} characters"
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


def _add(account: Account, repository: ListedRepository, used: Mapping[str | None, int]) -> Action:
    status = RepositoryStatus.DISABLED if repository.is_archived else RepositoryStatus.ACTIVE
    values = {
        **_stored(repository),
        "integration_id": account.integration_id,
        "provider": account.provider,
        "external_id": _free_external_id(account, repository.number, used),
        "status": status,
        "synced_status": status,
    }
    return Action("add", repository.name, values=values)


def _free_external_id(account: Account, number: str, used: Mapping[str | None, int], row_id: int | None = None) -> str:
    """Return the external id for a number.

    :param used: ids of rows by their external ids.
    :param row_id: of the row that gets it.
    """
    plain, with_host = numbered_ids(account.host, number)
    # Numbers are unique at one host, and a row of another host may have this one.
    return plain if used.get(plain, row_id) == row_id else with_host


def _change(
    account: Account,
    repository: ListedRepository,
    row: KnownRepository,
    used: Mapping[str | None, int],
    *,
    others: Sequence[KnownRepository],
    is_lost: bool,
) -> Action:
    values: dict[str, object] = _stored(repository)
    if not values["default_branch"]:
        del values["default_branch"]
    if row.integration_id is None or is_lost or RepositoryStatus.HIDDEN is row.status is row.synced_status:
        values["integration_id"] = account.integration_id
    if not row.is_numbered:
        external_id = _free_external_id(account, repository.number, used, row.id)
        values |= {"provider": account.provider, "external_id": external_id}
    values |= _status(repository, row)
    current = {**row._asdict()}
    changed = {name: value for name, value in values.items() if current[name] != value}
    kind = _kind(changed, row)
    reasons = [f"was {row.name!r}"] if "name" in changed else []
    if "integration_id" in changed and row.integration_id is not None:
        reasons.append("its integration does not see it any more")
    if not row.is_numbered:
        reasons.append("it has this remote")
    if others:
        reasons.append(f"so have the rows {', '.join(str(other.id) for other in others)}, which stay as they are")
    return Action(kind, repository.name, changed, "; ".join(reasons), row)


def _status(repository: ListedRepository, row: KnownRepository) -> dict[str, object]:
    """Return the status of a repository that is listed, where it changes; what people have set stays."""
    status = RepositoryStatus.DISABLED if repository.is_archived else RepositoryStatus.ACTIVE
    if row.is_by_hand:
        # Who has enabled what was archived agrees with the provider, once that has it active again.
        is_agreed = status is row.status is RepositoryStatus.ACTIVE
        return {"synced_status": status} if is_agreed else {}
    return {} if status is row.status else {"status": status, "synced_status": status}


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
            yield Action("hand over", row.name, values, "another integration sees it", row)
        elif row.status is RepositoryStatus.HIDDEN or row.is_by_hand:
            # What a person has disabled stays so, also when it is seen again.
            yield Action("keep", row.name, before=row)
        else:
            values = {"status": RepositoryStatus.HIDDEN, "synced_status": RepositoryStatus.HIDDEN}
            yield Action("hide", row.name, values, "the integration does not see it any more", row)
