"""What a listing changes: a table of plans, which need neither a database nor a provider."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.scm import RepositoryStatus
from flask_grpcweb_scm.scm.remotes import remote_of
from flask_grpcweb_scm.scm.sync.plan import Account, Action, KnownRepository, ListedRepository, plan_sync
from tests.tables import check_rows

ACCOUNT = Account(7, "github", "github.com")
ACTIVE, DISABLED, HIDDEN = RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED, RepositoryStatus.HIDDEN


def listed(number: int, name: str, **more: Any) -> ListedRepository:
    values = {"default_branch": "main", "is_archived": False, "url": f"https://github.com/{name}.git", **more}
    return ListedRepository(str(number), name, **values)


def known(row_id: int, name: str, number: int | None = None, **more: Any) -> KnownRepository:
    url = more.pop("url", f"https://github.com/{name}.git")
    defaults = {
        "integration_id": 7 if number else None,
        "provider": "github",
        "external_id": str(number) if number else (remote_of(url) or name),
        "is_numbered": number is not None,
        "default_branch": "main",
        "status": ACTIVE,
        "remote": remote_of(url),
        "host": "github.com" if number else None,
    }
    return KnownRepository(id=row_id, name=name, url=url, **{**defaults, **more})


def deleted(row: KnownRepository) -> KnownRepository:
    return row._replace(status=RepositoryStatus.PENDING_DELETION)


LONG = "acme/" + "g" * 190 + "/own-name"
# What is listed, the rows, what is special, and what is planned: kind, row, and the columns that change.
ROWS: list[tuple[str, list[ListedRepository], list[KnownRepository], dict[str, Any], list[tuple[Any, ...]]]] = [
    ("nothing", [], [], {}, []),
    (
        "new ones, one of them archived",
        [listed(1, "acme/a"), listed(2, "acme/b", is_archived=True)],
        [],
        {},
        [
            ("add", None, {
                "name": "acme/a", "url": "https://github.com/acme/a.git", "default_branch": "main", "path": "",
                "integration_id": 7, "provider": "github", "external_id": "1", "status": ACTIVE,
            }),
            ("add", None, {"status": DISABLED}),
        ],
    ),
    ("as it was", [listed(1, "acme/a")], [known(9, "acme/a", 1)], {}, [("keep", 9, {})]),
    (
        "a password in its URL",
        [listed(1, "acme/a", url="https://u:p4ss@github.com/acme/a.git?private_token=p4ss")],
        [known(9, "acme/a", 1, url="https://github.com/acme/old.git")],
        {},
        [("update", 9, {"url": "https://github.com/acme/a.git"})],
    ),
    (
        "either spelling of the provider",
        [listed(1, "acme/a")],
        [known(9, "acme/a", 1, provider="integrations:github")],
        {},
        [("keep", 9, {})],
    ),
    (
        "a rename",
        [listed(1, "acme/b")],
        [known(9, "acme/a", 1)],
        {},
        [("rename", 9, {"name": "acme/b", "url": "https://github.com/acme/b.git"})],
    ),
    (
        "names that swap",
        [listed(1, "acme/b"), listed(2, "acme/a")],
        [known(8, "acme/a", 1), known(9, "acme/b", 2)],
        {},
        [("rename", 8, {"name": "acme/b"}), ("rename", 9, {"name": "acme/a"})],
    ),
    (
        "names that swap, and a row that was imported by hand",
        [listed(1, "acme/b"), listed(2, "acme/a")],
        [known(8, "acme/a", 1), known(9, "acme/b")],
        {},
        [("rename", 8, {"name": "acme/b"}), ("add", None, {"external_id": "2", "name": "acme/a"})],
    ),
    ("a name in another case", [listed(1, "Acme/A")], [known(9, "acme/a", 1)], {}, [("rename", 9, {"name": "Acme/A"})]),
    (
        "another default branch, and then none",
        [listed(1, "acme/a", default_branch="trunk"), listed(2, "acme/b", default_branch="")],
        [known(8, "acme/a", 1), known(9, "acme/b", 2)],
        {},
        [("update", 8, {"default_branch": "trunk"}), ("keep", 9, {})],
    ),
    (
        "a transfer to what is seen",
        [listed(1, "umbrella/a")],
        [known(9, "acme/a", 1)],
        {},
        [("rename", 9, {"name": "umbrella/a"})],
    ),
    ("a transfer away", [], [known(9, "acme/a", 1)], {}, [("hide", 9, {"status": HIDDEN})]),
    (
        "deleted, and another one of its name",
        [listed(2, "acme/a")],
        [known(9, "acme/a", 1)],
        {},
        [("add", None, {"external_id": "2", "name": "acme/a"}), ("hide", 9, {"status": HIDDEN})],
    ),
    ("cut off in the middle", [listed(1, "acme/a")], [known(8, "acme/a", 1), known(9, "acme/b", 2)],
     {"is_complete": False}, [("keep", 8, {})]),
    ("cut off at once", [], [known(9, "acme/b", 2)], {"is_complete": False}, []),
    ("archived", [listed(1, "acme/a", is_archived=True)], [known(9, "acme/a", 1)], {},
     [("archive", 9, {"status": DISABLED, "synced_status": DISABLED})]),
    (
        "archived before",
        [listed(1, "acme/a", is_archived=True)],
        [known(9, "acme/a", 1, status=DISABLED, synced_status=DISABLED)],
        {},
        [("keep", 9, {})],
    ),
    (
        "not archived any more",
        [listed(1, "acme/a")],
        [known(9, "acme/a", 1, status=DISABLED, synced_status=DISABLED)],
        {},
        [("unarchive", 9, {"status": ACTIVE, "synced_status": ACTIVE})],
    ),
    ("disabled by a person", [listed(1, "acme/a")], [known(9, "acme/a", 1, status=DISABLED)], {}, [("keep", 9, {})]),
    (
        "disabled by a person, after syncs had disabled it",
        [listed(1, "acme/a"), listed(2, "acme/b", is_archived=True)],
        [
            known(8, "acme/a", 1, status=DISABLED, synced_status=ACTIVE),
            known(9, "acme/b", 2, status=DISABLED, synced_status=HIDDEN),
        ],
        {},
        [("keep", 8, {}), ("keep", 9, {})],
    ),
    (
        "enabled by a person, over what syncs have set",
        [listed(1, "acme/a", is_archived=True), listed(2, "acme/b")],
        [
            known(7, "acme/a", 1, synced_status=DISABLED),
            known(8, "acme/b", 2, synced_status=DISABLED),
            known(9, "acme/c", 3, synced_status=HIDDEN),
        ],
        {},
        [("keep", 7, {}), ("update", 8, {"synced_status": ACTIVE}), ("keep", 9, {})],
    ),
    ("hidden by a person", [listed(1, "acme/a")], [known(9, "acme/a", 1, status=HIDDEN)], {}, [("keep", 9, {})]),
    (
        "seen again",
        [listed(1, "acme/a"), listed(2, "acme/b", is_archived=True)],
        [
            known(8, "acme/a", 1, status=HIDDEN, synced_status=HIDDEN),
            known(9, "acme/b", 2, status=HIDDEN, synced_status=HIDDEN),
        ],
        {},
        [
            ("unhide", 8, {"status": ACTIVE, "synced_status": ACTIVE}),
            ("unhide", 9, {"status": DISABLED, "synced_status": DISABLED}),
        ],
    ),
    ("still not seen", [], [known(9, "acme/a", 1, status=HIDDEN, synced_status=HIDDEN)], {}, [("keep", 9, {})]),
    (
        "disabled by a person, and not seen any more",
        [],
        [known(9, "acme/a", 1, status=DISABLED)],
        {},
        [("keep", 9, {})],
    ),
    (
        "imported by hand, under a name of its own",
        [listed(1, "acme/a")],
        [known(9, "my-a", url="git@github.com:Acme/A.git")],
        {},
        [("adopt", 9, {
            "name": "acme/a", "url": "https://github.com/acme/a.git", "external_id": "1", "integration_id": 7,
        })],
    ),
    (
        "imported by hand, from a provider that was not told",
        [listed(1, "acme/a")],
        [known(9, "acme/a", provider="")],
        {},
        [("adopt", 9, {"provider": "github", "external_id": "1", "integration_id": 7})],
    ),
    (
        "imported by hand twice: the one with its name becomes the provider's",
        [listed(1, "acme/a")],
        [known(8, "copy", url="https://github.com/acme/a"), known(9, "acme/a")],
        {},
        [("adopt", 9, {"external_id": "1"})],
    ),
    (
        "imported by hand, and known by its number too",
        [listed(1, "acme/a")],
        [known(8, "acme/a"), known(9, "acme/a", 1)],
        {},
        [("keep", 9, {})],
    ),
    (
        "imported by hand, and claimed by another host",
        [listed(1, "acme/a", url="https://gitlab.com/acme/a.git")],
        [known(9, "acme/a", url="https://gitlab.com/acme/a.git")],
        {},
        [("add", None, {"external_id": "1"})],
    ),
    ("imported by hand, and not listed", [], [known(9, "acme/a")], {}, []),
    ("of another remote", [listed(1, "acme/a")], [known(9, "acme/a", url="https://gitlab.com/acme/a")], {},
     [("add", None, {"external_id": "1"})]),
    ("without an integration any more", [listed(1, "acme/a")],
     [known(9, "acme/a", 1, integration_id=None, host=None)], {}, [("update", 9, {"integration_id": 7})]),
    (
        "two integrations that see one",
        [listed(1, "acme/a")],
        [known(9, "acme/a", 1, integration_id=6)],
        {},
        [("keep", 9, {})],
    ),
    (
        "two integrations, of which one sees it no longer",
        [],
        [known(9, "acme/a", 1)],
        {"elsewhere": {"1": 6}},
        [("hand over", 9, {"integration_id": 6})],
    ),
    (
        "two integrations, of which the other has hidden it",
        [listed(1, "acme/a")],
        [known(9, "acme/a", 1, integration_id=6, status=HIDDEN, synced_status=HIDDEN)],
        {},
        [("unhide", 9, {"integration_id": 7, "status": ACTIVE})],
    ),
    (
        "two integrations, of which the other one is lost",
        [listed(1, "acme/a"), listed(2, "acme/b")],
        [known(8, "acme/a", 1, integration_id=6), known(9, "acme/b", 2, integration_id=5)],
        {"owners": {7, 5}},
        [("update", 8, {"integration_id": 7}), ("keep", 9, {})],
    ),
    (
        "an integration that is gone, of this host and of another one",
        [listed(1, "acme/a"), listed(2, "acme/b")],
        [
            known(8, "acme/a", 1, integration_id=None, host=None),
            known(9, "acme/b", 2, integration_id=None, host=None, url="https://ghe.example/acme/b.git"),
        ],
        {},
        [("update", 8, {"integration_id": 7}), ("add", None, {"external_id": "github.com:2"})],
    ),
    ("of another integration, and not listed", [], [known(9, "acme/a", 1, integration_id=6)], {}, []),
    ("another host's number", [listed(1, "acme/a")], [known(9, "x/y", 1, integration_id=6, host="ghe.example")], {},
     [("add", None, {"external_id": "github.com:1"})]),
    (
        "another host's number, the second time",
        [listed(1, "acme/a")],
        [
            known(8, "x/y", 1, integration_id=6, host="ghe.example"),
            known(9, "acme/a", 1, external_id="github.com:1"),
        ],
        {},
        [("keep", 9, {})],
    ),
    ("being deleted", [listed(1, "acme/a")], [deleted(known(9, "acme/a", 1))], {}, [("skip", 9, {})]),
    ("being deleted, with its remote", [listed(1, "acme/a")], [deleted(known(9, "acme/a"))], {},
     [("add", None, {"external_id": "1"})]),
    ("being deleted, and not listed", [], [deleted(known(9, "acme/a", 1))], {}, []),
    ("listed twice", [listed(1, "acme/a"), listed(1, "acme/b")], [], {}, [("add", None, {"name": "acme/b"})]),
    ("a name that is too long", [listed(1, LONG)], [], {}, [("add", None, {"name": "…" + LONG[-199:], "path": LONG})]),
    (
        "a name that is too long, the second time",
        [listed(1, LONG)],
        [known(9, "…" + LONG[-199:], 1, url=f"https://github.com/{LONG}.git", path=LONG)],
        {},
        [("keep", 9, {})],
    ),
    (
        "what cannot be stored",
        [
            listed(1, "acme/a\n"), listed(2, ""), listed(3, "acme/c", url=""), listed(5, "5"),
            listed(6, "acme/e", url="https://github.com/" + "x" * 8000), listed(4, "acme/d", default_branch="x" * 256),
        ],
        [],
        {},
        [*[("skip", None, {})] * 5, ("add", None, {"default_branch": ""})],
    ),
    (
        "what cannot be stored is not missing",
        [listed(1, "acme/\0")],
        [known(9, "acme/a", 1)],
        {},
        [("skip", 9, {})],
    ),
]  # fmt: skip


def test_plans() -> None:
    def check(what: str, listing: Any, rows: Any, special: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
        actions = plan_sync(ACCOUNT, listing, rows, **{"is_complete": True, **special})
        assert [(action.kind, action.repository_id) for action in actions] == [each[:2] for each in expected]
        for action, (_, _, values) in zip(actions, expected, strict=True):
            assert {key: action.values.get(key) for key in values} == values
            if action.kind in {"keep", "skip"}:
                assert not action.values
            assert action.reason or action.kind not in {"skip", "hide", "adopt", "hand over"}

    check_rows(check, ROWS)


# What holds of all listings and rows.

NAMES = st.sampled_from(["acme/a", "Acme/A", "acme/b", "acme/c", "umbrella/a", LONG, "acme/\0"])
LISTED = st.lists(
    st.builds(lambda number, name, archived: listed(number, name, is_archived=archived),
              st.integers(1, 5), NAMES, st.booleans()), max_size=5,
)  # fmt: skip
STATUSES = st.sampled_from([ACTIVE, DISABLED, HIDDEN, RepositoryStatus.PENDING_DELETION])


@st.composite
def rows_of_an_organization(draw: st.DrawFn) -> list[KnownRepository]:
    rows: list[KnownRepository] = []
    for row_id in range(1, draw(st.integers(0, 6)) + 1):
        number = draw(st.none() | st.integers(1, 5))
        row = known(row_id, draw(NAMES.filter(str.isprintable)), number, status=draw(STATUSES))
        if number is not None:
            other = {"integration_id": 6, "host": draw(st.sampled_from(["github.com", "ghe.example"]))}
            row = row._replace(
                synced_status=draw(st.sampled_from([None, ACTIVE, DISABLED, HIDDEN])),
                **draw(st.sampled_from([{}, other])),
            )
        if (row.provider, row.external_id) not in {(each.provider, each.external_id) for each in rows}:
            rows.append(row)
    return rows


def applied(rows: list[KnownRepository], actions: list[Action]) -> list[KnownRepository]:
    after = {row.id: row for row in rows}
    for action in actions:
        values = dict(action.values)
        if action.kind == "add":
            row_id = max(after, default=0) + 1
            url = str(values["url"])
            more = {"is_numbered": True, "remote": remote_of(url), "host": "github.com"}
            after[row_id] = KnownRepository(id=row_id, **{**values, **more})  # type: ignore[arg-type]
        elif action.repository_id is not None and action.kind != "skip":
            row = after[action.repository_id]._replace(**values)
            host = {7: "github.com", 6: row.host, None: None}[row.integration_id]
            is_numbered = row.is_numbered or action.kind == "adopt"
            after[row.id] = row._replace(remote=remote_of(row.url), host=host, is_numbered=is_numbered)
    return [*after.values()]


@given(LISTED, rows_of_an_organization(), st.booleans())
def test_a_plan_that_was_carried_out_plans_nothing(
    listing: list[ListedRepository], rows: list[KnownRepository], is_complete: bool
) -> None:
    actions = plan_sync(ACCOUNT, listing, rows, is_complete=is_complete)
    changed = [action.repository_id for action in actions if action.repository_id is not None]
    assert len(changed) == len(set(changed))
    after = applied(rows, actions)
    keys = [(row.provider, row.external_id) for row in after]
    assert len(keys) == len(set(keys))
    again = plan_sync(ACCOUNT, listing, after, is_complete=is_complete)
    assert {action.kind for action in again} <= {"keep", "skip"}
    assert all(not action.values for action in again)
    # What was set by a person stays, and so do rows of others.
    for before, row in zip(rows, after, strict=False):
        if before.is_by_hand:
            assert row.status is before.status
        if not is_complete:
            assert row.status is before.status or before.status is HIDDEN or row.status is not HIDDEN
