"""``flask scm derive``."""

from __future__ import annotations

from typing import Any, TextIO

import click

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.cli.command import command, fail, print_result, project_named
from flask_grpcweb_scm.scm.code_mappings.derive import derive
from flask_grpcweb_scm.scm.code_mappings.tracebacks import TracebackFrame, parse_traceback
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import CodeMapping

__all__ = ["derive_command"]


@command("derive")
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.option(
    "--traceback",
    "file",
    type=click.File(encoding="utf-8", errors="replace"),
    required=True,
    help="Text with stack traces of Python, Java, JavaScript or Go; - for standard input.",
)
@click.option("--dry-run", is_flag=True, help="Store nothing.")
def derive_command(organization: str, project: str, file: TextIO, dry_run: bool, as_json: bool) -> None:
    """Derive code mappings from pasted stack traces, and say of every frame what was found and why not."""
    row = project_named(organization, project)
    frames = list(parse_traceback(file.read()))
    if not frames:
        fail("the text has no frames of Python, Java, JavaScript or Go; give the stack trace as it was printed")
    ours = list(dict.fromkeys(frame.frame for frame in frames if not frame.not_ours))
    derivation = derive(row, ours, dry_run=dry_run, context=CallContext())
    db.session.commit()
    outcomes = dict(zip(ours, derivation.outcomes, strict=True))
    facts = [_frame_facts(frame, outcomes.get(frame.frame)) for frame in frames]
    mappings = [_mapping_facts(mapping) for mapping in derivation.mappings]
    text = "\n".join([*map(_frame_text, facts), "", *map(_mapping_text, derivation.mappings)])
    print_result(as_json, text.rstrip(), frames=facts, mappings=mappings)


def _frame_facts(frame: TracebackFrame, outcome: scm_pb2.PathOutcome | None) -> dict[str, Any]:
    """Describe the outcome of a frame; without one, it was not searched for."""
    facts = {"place": str(frame), "path": frame.frame.text, "line": frame.line, "function": frame.function}
    if outcome is None:
        return {**facts, "outcome": "skipped", "source_path": "", "code_mapping_id": 0, "reason": frame.not_ours}
    name = scm_pb2.PathOutcome.Outcome.Name(outcome.outcome).removeprefix("OUTCOME_").lower().replace("_", " ")
    found = {"source_path": outcome.source_path, "code_mapping_id": outcome.code_mapping_id, "reason": outcome.reason}
    return {**facts, "outcome": name, **found}


def _frame_text(facts: dict[str, Any]) -> str:
    found = f"{facts['source_path']} ({facts['reason']})" if facts["source_path"] else facts["reason"]
    return f"{facts['place']}\n    {facts['outcome']}: {found}"


def _mapping_facts(mapping: CodeMapping) -> dict[str, Any]:
    names = ("repository_id", "stack_root", "source_root", "default_branch", "automatically_generated")
    return {"id": mapping.id or 0, **{name: getattr(mapping, name) for name in names}}


def _mapping_text(mapping: CodeMapping) -> str:
    name = f"code mapping {mapping.id}" if mapping.id else "a code mapping, not stored"
    return f"{name}: {mapping.stack_root!r} becomes {mapping.source_root!r} in repository {mapping.repository_id}"
