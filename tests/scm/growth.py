"""A tenant with any number of rows, and every RPC about them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask

from flask_grpcweb_scm import RpcError
from flask_grpcweb_scm.scm import db
from tests.scm.support import Scm, Tenant

SCARCE = 10
"""For so many repositories there is one code mapping and one link."""
# Changed by the first commit alone, and by every commit.
RARE, COMMON = "docs/rare.md", "CHANGES.md"
PAGE, MAX_PAGE = 20, 1000

_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})",
    "postgresql": "WITH n AS (SELECT generate_series({first}, {last}) AS i)",
}
# A permutation of the numbers below 2^32.
_HEX = {"sqlite": "printf('%08x', {0})", "postgresql": "lpad(to_hex({0}), 8, '0')"}
_MINUTES = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', 1600000000 + 60 * i, 'unixepoch')",
    "postgresql": "to_timestamp(1600000000 + 60 * i)",
}
# In pairs: table and columns, and the SELECT from n for them.
_ROWS = {
    "scm_repository (organization_id, integration_id, name, url, provider, external_id, status, config, date_added,"
    " default_branch)": """
        SELECT {organization}, {integration}, {hex} || '-service', 'https://git.example/' || i,
               CASE WHEN i % {scarce} = 0 THEN 'bitbucket' WHEN i % 2 = 0 THEN 'github' ELSE 'integrations:gitlab' END,
               i, 'active', '{{}}', {minutes}, 'main' FROM n""",
    "scm_commit_author (organization_id, name, email)": """
        SELECT {organization}, 'Author ' || i, 'author' || i || '@mail.example' FROM n WHERE i % {scarce} = 0""",
    "scm_commit (repository_id, key, author_id, message, date_added)": """
        SELECT {repository}, {hex} || '{zeros}', (SELECT max(id) FROM scm_commit_author), 'Change ' || i, {minutes}
        FROM n""",
    "scm_commit_file_change (commit_id, filename, type, repository_id, date_added)": """
        SELECT scm_commit.id, CASE
                   WHEN file = 0 THEN '{common}' WHEN file = 1 THEN 'src/own' || i || '.py'
                   WHEN file = 10 THEN '{rare}' ELSE 'src/' || ((i * 8 + file) % 1000) || '.py' END,
               'M', repository_id, scm_commit.date_added
        FROM n JOIN scm_commit ON repository_id = {repository} AND key = {hex} || '{zeros}' JOIN (
            SELECT 0 AS file UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5
            UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9 UNION SELECT 10
        ) AS files ON file < 10 OR i = 1""",
    "scm_code_mapping (organization_id, project_id, repository_id, stack_root, source_root, default_branch,"
    " automatically_generated, date_added)": """
        SELECT {organization}, {project}, {repository}, '/srv/app' || i || '/', 'src/', '', (i % 3) = 0, {minutes}
        FROM n WHERE i % {scarce} = 0""",
    "scm_external_issue (organization_id, integration_id, key, title, description, metadata, web_url, date_added)": """
        SELECT {organization}, {integration}, 'N-' || i, 'Issue ' || i, '', '{{}}', '', {minutes} FROM n""",
    "scm_group_link (group_id, project_id, linked_type, linked_id, relationship, date_added)": """
        SELECT {group}, {project}, 3, scm_external_issue.id, 2, {minutes}
        FROM n JOIN scm_external_issue ON organization_id = {organization} AND integration_id = {integration}
        AND key = 'N-' || i WHERE i % {scarce} = 0""",
}


def grow(app: Flask, tenant: Tenant, first: int, last: int) -> None:
    """Give a tenant the rows with these numbers; PostgreSQL and SQLite learn their statistics."""
    with app.app_context():
        dialect = db.engine.dialect.name
        permuted = _HEX[dialect].format("(CAST(i AS BIGINT) * 2654435761) % 4294967296")
        values = {
            **dataclasses.asdict(tenant),
            "hex": permuted, "minutes": _MINUTES[dialect], "zeros": "0" * 32, "scarce": SCARCE,
            "common": COMMON, "rare": RARE,
        }  # fmt: skip
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            numbers = _NUMBERS[dialect].format(first=first, last=last)
            for table, select in _ROWS.items():
                text = f"INSERT INTO {table} {numbers} {select.format(**values)}"
                connection.exec_driver_sql(text.replace("%", "%%") if dialect == "postgresql" else text)
                # The next INSERT may read this table.
                connection.exec_driver_sql(f"ANALYZE {table.partition(' ')[0]}")
            connection.exec_driver_sql("VACUUM ANALYZE" if dialect == "postgresql" else "ANALYZE")


def key_of(number: int) -> str:
    """SHA of the commit with a number."""
    return f"{number * 2654435761 % 2**32:08x}" + "0" * 32


@dataclass
class Calls:
    """Every RPC about a tenant with `rows` rows; each may be made any number of times."""

    scm: Scm
    tenant: Tenant
    rows: int

    def __post_init__(self) -> None:
        self._numbers = itertools.count()

    def all(self) -> Mapping[str, Callable[[], object]]:
        """Return calls by their names."""
        tenant = self.tenant
        organization, project = {"organization_id": tenant.organization}, {"project_id": tenant.project}
        group, repository = {"group_id": tenant.group}, {"repository_id": tenant.repository}
        page = {**organization, "page_size": PAGE}
        newest = key_of(self.rows)
        middle = self.rows // 2 // SCARCE * SCARCE
        line = {**repository, "commit_sha": newest, "line_number": 1}
        absent = {"filepath": "absent.py"}
        lines = [{"filepath": f"src/{number}.py", "line_number": 1} for number in range(17)]
        lines += [{"filepath": path, "line_number": 1} for path in (RARE, COMMON, "absent.py")]
        shas = [{"commit_sha": key_of(number)[:9], "filepath": RARE, "line_number": 1} for number in range(1, 21)]
        covered = [f"/srv/app{middle + SCARCE * number}/x.py" for number in range(5)]
        linked = self.scm("ListExternalIssues", **organization, **group, page_size=1).issues[0].id
        return {
            "GetRepository": lambda: self.scm("GetRepository", **repository),
            "ListRepositories": lambda: self.scm("ListRepositories", **page),
            "ListRepositories, next page": self._next("ListRepositories", **page),
            "ListRepositories, of a provider": lambda: self.scm("ListRepositories", **page, provider=2),
            "ListRepositories, of a rare provider": lambda: self.scm("ListRepositories", **page, provider=3),
            "ListRepositories, of a provider, next page": self._next("ListRepositories", **page, provider=2),
            "ListRepositories, of no provider": lambda: self.scm("ListRepositories", **page, provider=6),
            "GetCommit": lambda: self.scm("GetCommit", **repository, commit_sha=newest),
            "GetCommit, by a prefix": lambda: self.scm("GetCommit", **repository, commit_sha=newest[:9]),
            "GetCommit, the newest one": lambda: self.scm("GetCommit", **repository),
            "GetCommitContext, rare path": lambda: self.scm("GetCommitContext", **line, filepath=RARE),
            "GetCommitContext, common path": lambda: self.scm("GetCommitContext", **line, filepath=COMMON),
            "GetCommitContext, common path, old commit": lambda: self.scm(
                "GetCommitContext", **{**line, "commit_sha": key_of(1)}, filepath=COMMON
            ),
            "GetCommitContext, absent path": lambda: self._fails("GetCommitContext", **line, **absent),
            "BatchGetCommitContext": lambda: self.scm(
                "BatchGetCommitContext", **repository, commit_sha=newest, lines=lines
            ),
            "BatchGetCommitContext, 20 commits": lambda: self.scm("BatchGetCommitContext", **repository, lines=shas),
            "CreateCodeMapping, DeleteCodeMapping": lambda: self._create_mapping(organization, project, repository),
            "CreateCodeMapping, again": lambda: self._fails(
                "CreateCodeMapping", **organization, **project, **repository, stack_root=f"/srv/app{middle}/"
            ),
            "ListCodeMappings": lambda: self.scm("ListCodeMappings", **page, **project),
            "ListCodeMappings, next page": self._next("ListCodeMappings", **page, **project),
            "DeriveCodeMappings, covered": lambda: self.scm(
                "DeriveCodeMappings", **organization, **project, stacktrace_paths=covered
            ),
            "DeriveCodeMappings, not covered": lambda: self.scm(
                "DeriveCodeMappings", **organization, **project, stacktrace_paths=["/opt/x.py", "/usr/app/y.py"]
            ),
            "FindSuspectCommits": lambda: self.scm(
                "FindSuspectCommits",
                **organization,
                **project,
                frames=[{"path": path, "line": 1} for path in covered],
                release_commits=[{**repository, "commit_sha": newest[:9]}],
                dry_run=True,
            ),
            "CreateExternalIssue": lambda: self.scm(
                "CreateExternalIssue",
                **organization,
                integration_id=tenant.integration,
                title="x",
                metadata=[("idempotency-key", f"{self.rows} {next(self._numbers)}")],
            ),
            "LinkExternalIssue, again": lambda: self._fails("LinkExternalIssue", **group, external_issue_id=linked),
            "LinkExternalIssue, UnlinkExternalIssue": lambda: self._unlink(),
            "ListExternalIssues": lambda: self.scm("ListExternalIssues", **page),
            "ListExternalIssues, next page": self._next("ListExternalIssues", **page),
            "ListExternalIssues, of a group": lambda: self.scm("ListExternalIssues", **page, **group),
            "ListExternalIssues, of a group, next page": self._next("ListExternalIssues", **page, **group),
            "ListProjects": lambda: self.scm("ListProjects", **page),
            "ListIntegrations": lambda: self.scm("ListIntegrations", **page),
            "UpsertGroup": lambda: self.scm("UpsertGroup", **organization, **project, short_id=1, title="x"),
            "ListCommits": lambda: self.scm("ListCommits", **repository, page_size=PAGE),
            "ListCommits, next page": self._next("ListCommits", **repository, page_size=PAGE),
            "ListCommits, common path": lambda: self.scm("ListCommits", **repository, page_size=PAGE, path=COMMON),
            "ListCommits, rare path": lambda: self.scm("ListCommits", **repository, page_size=PAGE, path=RARE),
            "ListCommits, of nobody": lambda: self.scm("ListCommits", **repository, author="absent@mail.example"),
        }

    def _fails(self, method: str, **fields: Any) -> None:
        try:
            self.scm(method, **fields)
        except RpcError:
            return
        raise AssertionError(f"{method} has to fail")

    def _next(self, method: str, **fields: Any) -> Callable[[], object]:
        """Make a call for a page from the middle of the scarcest rows."""
        token, left = "", self.rows // SCARCE // 2
        while left > 0:
            size = min(left, MAX_PAGE)
            token, left = (
                self.scm(method, **{**fields, "page_size": size}, page_token=token).next_page_token,
                left - size,
            )
        assert token
        return lambda: self.scm(method, **fields, page_token=token)

    def _create_mapping(self, *ids: dict[str, int]) -> None:
        fields = {name: value for part in ids for name, value in part.items()}
        created = self.scm("CreateCodeMapping", **fields, stack_root=f"/new/{self.rows}/{next(self._numbers)}")
        self.scm("DeleteCodeMapping", organization_id=self.tenant.organization, code_mapping_id=created.id)

    def _unlink(self) -> None:
        ids = {"group_id": self.tenant.group, "external_issue_id": self.tenant.issue}
        self.scm("LinkExternalIssue", **ids)
        self.scm("UnlinkExternalIssue", **ids)
