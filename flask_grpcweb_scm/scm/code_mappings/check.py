"""A check of the code mappings of a project: those that lead nowhere, and those that hide others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.code_mappings.repositories import Branch, RepositoryTrees, branch_of
from flask_grpcweb_scm.scm.code_mappings.roots import apply_root, covering, possible_roots
from flask_grpcweb_scm.scm.code_mappings.trees import TreeIndex
from flask_grpcweb_scm.scm.database.models import CodeMapping, Project
from flask_grpcweb_scm.scm.queries.code_mappings import all_code_mappings

__all__ = ["CheckedMapping", "check_mappings"]


@dataclass(slots=True)
class CheckedMapping:
    """A code mapping, and what is wrong with it."""

    mapping: CodeMapping
    problem: str = ""
    """``nowhere``, ``empty``, ``hidden`` or ``unreadable``; empty when it leads to files."""
    reason: str = ""
    hides: dict[int, list[str]] = field(default_factory=dict)
    """Paths of stack traces that it leads to another file than a mapping behind it does, by that mapping's id."""

    @property
    def can_be_deleted(self) -> bool:
        """True when no path needs it, and no person has made it."""
        return self.mapping.automatically_generated and self.problem in {"nowhere", "empty", "hidden"}


def check_mappings(project: Project, context: CallContext) -> list[CheckedMapping]:
    """Look at the code mappings of a project, in order of precedence."""
    checked = [CheckedMapping(mapping) for mapping in all_code_mappings(project.id)]
    trees = RepositoryTrees(project.organization_id, context)
    wanted: dict[Branch, set[str]] = {}
    for check in checked:
        wanted.setdefault(branch_of(check.mapping), set()).add(check.mapping.source_root)
    living = trees.existing(wanted, TreeIndex.has_below)
    problems = trees.problems()
    for check in checked:
        _set_problem(check, living, problems)
    ranks = {check.mapping.stack_root: rank for rank, check in enumerate(checked) if not check.problem}
    deeper: dict[str, list[int]] = {}
    for root, rank in ranks.items():
        for start in {*possible_roots(root)} & ranks.keys() - {root}:
            deeper.setdefault(start, []).append(rank)
    for rank, check in enumerate(checked):
        context.check_deadline()
        if not check.problem:
            _compare(checked, rank, ranks, deeper.get(check.mapping.stack_root, ()), trees)
    return checked


def _set_problem(check: CheckedMapping, living: Mapping[Branch, Collection[str]], problems: Sequence[str]) -> None:
    mapping = check.mapping
    if not mapping.stack_root and mapping.automatically_generated:
        check.problem, check.reason = "empty", "an empty root would cover the paths of every repository"
    elif branch_of(mapping) not in living:
        name = mapping.repository.name
        reasons = [problem for problem in problems if problem.startswith(f"{name} could")]
        check.problem, check.reason = "unreadable", reasons[0] if reasons else f"{name} has no files that could be read"
    elif mapping.source_root not in living[branch_of(mapping)]:
        check.problem, check.reason = "nowhere", f"no file is below {mapping.source_root!r}"


def _compare(
    checked: Sequence[CheckedMapping],
    rank: int,
    ranks: Mapping[str, int],
    deeper: Sequence[int],
    trees: RepositoryTrees,
) -> None:
    """Set which mappings hide a mapping: they come before it, and have other files for its paths."""
    check, mapping = checked[rank], checked[rank].mapping
    length = len(mapping.stack_root)
    if any(other < rank for other in covering(mapping.stack_root, ranks)):
        roots = {mapping.source_root}
    else:
        roots = {mapping.source_root + checked[other].mapping.stack_root[length:] for other in deeper if other < rank}
    if not roots:
        return
    found = trees.read(
        branch_of(mapping),
        lambda index, _: (sum(1 for _ in index.below(mapping.source_root)), {*chain(*map(index.below, roots))}),
    )
    count, files = found or (0, set())
    paths = {mapping.stack_root + file[len(mapping.source_root) :]: file for file in files}
    before = {path: [other for other in covering(path, ranks) if other < rank] for path in paths}
    wanted: dict[Branch, set[str]] = {}
    for path, others in before.items():
        for other in others:
            wanted.setdefault(branch_of(checked[other].mapping), set()).add(_apply(checked[other].mapping, path))
    there = trees.existing(wanted)
    covered = 0
    for path, others in before.items():
        for other in others:
            first = checked[other].mapping
            file = _apply(first, path)
            if file in there.get(branch_of(first), ()):
                covered += 1
                if (first.repository_id, file) != (mapping.repository_id, paths[path]):
                    checked[other].hides.setdefault(mapping.id, []).append(path)
                break
    hidden = any(mapping.id in each.hides for each in checked[:rank])
    if hidden and covered == count:
        check.problem, check.reason = "hidden", "mappings before it cover all of its paths"


def _apply(mapping: CodeMapping, path: str) -> str:
    return apply_root(path, mapping.stack_root, mapping.source_root)
