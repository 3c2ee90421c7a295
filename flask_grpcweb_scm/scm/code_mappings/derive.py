"""Code mappings for the frames of a stack trace: the stored ones that cover them, and derived ones for the others."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.code_mappings.coverage import Cover, Coverage
from flask_grpcweb_scm.scm.code_mappings.decide import Finding, decide, matches_of
from flask_grpcweb_scm.scm.code_mappings.frames import Reading, StackFrame, StackPath, read
from flask_grpcweb_scm.scm.code_mappings.repositories import Branch, RepositoryTree, RepositoryTrees, read_all
from flask_grpcweb_scm.scm.code_mappings.roots import (
    Mapped,
    Place,
    Roots,
    choose_roots,
    find_roots,
    find_tied,
    possible_roots,
    target_of,
    ties_of,
)
from flask_grpcweb_scm.scm.code_mappings.trees import Matches, TreeIndex
from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import CodeMapping, Project
from flask_grpcweb_scm.scm.queries.code_mappings import code_mappings_with_roots, stack_roots_of
from flask_grpcweb_scm.scm.validation import branch_problem

__all__ = ["Derivation", "derive"]

logger = logging.getLogger(__name__)

MAX_ROOTS = 20_000  # to look up: more paths than a trace has, or very deep ones
PROBLEMS = 3  # to name in an outcome
MAX_REASON_CHARACTERS = 1000

Outcome = scm_pb2.PathOutcome


@dataclass(frozen=True, slots=True)
class Derivation:
    """The result for a stack trace."""

    mappings: list[CodeMapping]
    """The stored ones in order of precedence, then the derived ones; on a dry run the latter have no id."""
    outcomes: list[scm_pb2.PathOutcome]
    """One for each frame."""
    trees: RepositoryTrees
    """Of the repositories that were searched."""


def derive(
    project: Project,
    frames: Sequence[StackFrame],
    *,
    dry_run: bool,
    context: CallContext,
    commits: Mapping[int, str] | None = None,
) -> Derivation:
    """Find or derive the code mappings of a project that cover frames of a stack trace.

    Neither the outcomes nor the mappings depend on the order of the frames.

    :param dry_run: derive them without storing them.
    :param commits: to read in place of the newest ones, by repository: on a dry run, for mappings are of branches.
    """
    readings: dict[StackFrame, Reading] = {}
    for frame in frames:
        context.check_deadline()
        if frame not in readings:
            readings[frame] = read(frame)
    trees = RepositoryTrees(project.organization_id, context, commits)
    stored = _stored_mappings(
        context, project, {text for reading in readings.values() for text in reading.texts if text}
    )
    coverage = Coverage(stored, trees, context)
    covered = coverage.cover(set(readings.values()))
    uncovered = [
        reading
        for reading in readings.values()
        if reading not in covered and (reading.paths or reading.package is not None)
    ]
    evidence = [mapped for mapped in _evidence(covered) if trees.is_active(mapped.place.repository_id)]
    findings = _find(trees, uncovered, evidence, context)
    decided = [finding.mapped for finding in findings.values() if finding.mapped is not None]
    dead = coverage.dead_roots(roots.stack_root for mapped in decided for roots in mapped.chain()) if stored else set()
    living = {row.stack_root: (row.repository_id, row.source_root) for row in stored if row.stack_root not in dead}
    chosen = choose_roots(
        decided,
        [mapped for cover in covered.values() if (mapped := cover.mapped) is not None],
        lambda root, target: living.get(root, target) == target,
    )
    replaced = [row for row in stored if row.stack_root in dead]
    context.check_deadline()
    rows = _record(context, project, chosen, replaced, dry_run=dry_run)
    outcomes, problems = [], trees.problems()
    for frame in frames:
        reading = readings[frame]
        if reading in covered:
            outcomes.append(covered[reading].outcome(frame.text))
        elif reading in findings:
            finding = findings[reading]
            row = rows.get(chosen[finding.mapped].stack_root) if finding.mapped in chosen else None
            outcomes.append(_outcome(frame.text, finding, row, problems))
        else:
            outcomes.append(
                Outcome(path=frame.text, outcome=Outcome.OUTCOME_UNSUPPORTED, reason=_short(reading.problem))
            )
    return Derivation([*coverage.used(), *rows.values()], outcomes, trees)


def _stored_mappings(context: CallContext, project: Project, texts: Collection[str]) -> Sequence[CodeMapping]:
    """Return the code mappings of a project that cover any of these texts, in order of precedence."""
    roots: set[str] = set()
    for text in texts:
        roots.update(root for root in possible_roots(text) if "\0" not in root)
        if len(roots) > MAX_ROOTS:
            stored = stack_roots_of(project.id)
            roots = {root for text in texts for root in possible_roots(text) if root in stored}
            break
    return code_mappings_with_roots(context, project.id, roots) if roots else ()


def _evidence(covered: Mapping[Reading, Cover]) -> Iterator[Mapped]:
    """Yield the files of covered frames with the shortest roots that lead to them: shorter than the row's, perhaps."""
    for reading, cover in covered.items():
        if (mapped := cover.mapped) is not None:
            paths = [path for path in reading.paths if path.raw == cover.text]
            roots = find_roots(paths[0], cover.file) if paths else None
            yield mapped if roots is None or not roots.stack_root else replace(mapped, roots=roots)


def _find(
    trees: RepositoryTrees, readings: Sequence[Reading], covered: Sequence[Mapped], context: CallContext
) -> dict[Reading, Finding]:
    """Find out which file each reading means, by itself or else by the roots of the others."""
    if not readings:
        return {}

    def search(index: TreeIndex, tree: RepositoryTree) -> list[list[Matches]]:
        found, place = [], tree.place
        for reading in readings:
            context.check_deadline()
            found.append(matches_of(index, place, reading))
        return found

    results = [(tree.place, matches) for tree, matches in read_all(trees.all(), search)]
    findings: dict[Reading, Finding] = {}
    for number, reading in enumerate(readings):
        context.check_deadline()
        findings[reading] = decide(reading, [(place, matches[number]) for place, matches in results])
    decided = [finding.mapped for finding in findings.values() if finding.mapped is not None]
    undecided = [reading for reading, finding in findings.items() if finding.mapped is None and reading.paths]
    if undecided and (decided or covered):
        findings.update(_find_tied(trees, undecided, ties_of([*decided, *covered]), context))
    return findings


def _find_tied(
    trees: RepositoryTrees,
    readings: Sequence[Reading],
    ties: Mapping[str, set[tuple[Place, str]]],
    context: CallContext,
) -> dict[Reading, Finding]:
    """Return findings for those paths that are below a root of other frames, and exist there."""
    candidates: dict[Reading, list[tuple[StackPath, list[Mapped]]]] = {}
    wanted: dict[Branch, set[str]] = {}
    for reading in readings:
        context.check_deadline()
        candidates[reading] = [(path, group) for path in reading.paths for group in find_tied(path, ties)]
        for mapped in (mapped for _, group in candidates[reading] for mapped in group):
            wanted.setdefault(mapped.place.key, set()).add(mapped.file)
    there = trees.existing(wanted)
    findings = {}
    for reading, groups in candidates.items():
        for path, group in groups:
            existing = [mapped for mapped in group if mapped.file in there.get(mapped.place.key, ())]
            if len({(mapped.place, mapped.file) for mapped in existing}) == 1:
                found = existing[0]
                shortest = replace(found, roots=find_roots(path, found.file) or found.roots)
                findings[reading] = Finding(shortest, f"it is {found}, where other frames are")
            elif existing:
                names = " or ".join(sorted(map(str, existing)))
                findings[reading] = Finding(None, f"it could be {names}", ambiguous=True)
            if existing:
                break
    return findings


def _record(
    context: CallContext,
    project: Project,
    chosen: Mapping[Mapped, Roots],
    replaced: Sequence[CodeMapping],
    *,
    dry_run: bool,
) -> dict[str, CodeMapping]:
    """Make code mappings, and store them unless this is a dry run; a row that exists stays unchanged.

    :param replaced: rows whose stack roots lead nowhere any more.
    """
    targets: dict[str, tuple[Mapped, Roots]] = {}
    for mapped, roots in chosen.items():
        targets.setdefault(roots.stack_root, (mapped, roots))
    rows = [
        {
            "organization_id": project.organization_id,
            "project_id": project.id,
            "repository_id": mapped.place.repository_id,
            "stack_root": roots.stack_root,
            "source_root": roots.source_root,
            "default_branch": "" if branch_problem(mapped.place.branch) else mapped.place.branch,
            "automatically_generated": True,
        }
        for mapped, roots in targets.values()
    ]
    if dry_run or not rows:
        return {str(row["stack_root"]): CodeMapping(**row) for row in rows}
    gone = [row.id for row in replaced if row.stack_root in targets]
    if gone:
        for row in replaced:
            if row.stack_root in targets:
                logger.info(
                    "code mapping %d of project %d, %r to %r, is replaced: no file of repository %d is below its root",
                    *(row.id, project.id, row.stack_root, row.source_root, row.repository_id),
                )
        generated = sa.and_(CodeMapping.id.in_(gone), CodeMapping.automatically_generated.is_(True))
        db.session.execute(sa.delete(CodeMapping).where(generated))
    # Sorted, so that two transactions which add the same roots do not wait for each other.
    in_order = sorted(rows, key=lambda row: str(row["stack_root"]))
    inserted = db.session.scalars(insert_new(CodeMapping).returning(CodeMapping), in_order)
    stored = {mapping.stack_root: mapping for mapping in inserted}
    if len(stored) < len(rows):
        # Another call, perhaps a user's, has stored some meanwhile.
        existing = code_mappings_with_roots(context, project.id, [str(row["stack_root"]) for row in rows])
        stored = {
            mapping.stack_root: mapping
            for mapping in existing
            if (mapping.repository_id, mapping.source_root) == target_of(*targets[mapping.stack_root])
        }
    return {root: stored[root] for root in targets if root in stored}


def _outcome(text: str, finding: Finding, row: CodeMapping | None, problems: Sequence[str]) -> scm_pb2.PathOutcome:
    mapped = finding.mapped
    if mapped is not None:
        return Outcome(
            path=text,
            outcome=Outcome.OUTCOME_DERIVED,
            code_mapping_id=0 if row is None else row.id,
            source_path=mapped.file,
            reason=_short(finding.reason),
            repository_id=mapped.place.repository_id,
            branch=mapped.place.branch,
            source_url=mapped.place.pages.file(mapped.file, branch=mapped.place.branch),
        )
    if finding.not_ours:
        return Outcome(path=text, outcome=Outcome.OUTCOME_UNSUPPORTED, reason=_short(finding.reason))
    outcome = Outcome.OUTCOME_AMBIGUOUS if finding.ambiguous else Outcome.OUTCOME_NO_MATCH
    return Outcome(path=text, outcome=outcome, reason="; ".join([_short(finding.reason), *problems[:PROBLEMS]]))


def _short(text: str) -> str:
    """Cut a text: the paths in it may have any length, and there may be many outcomes."""
    return text if len(text) <= MAX_REASON_CHARACTERS else text[:MAX_REASON_CHARACTERS] + "…"
