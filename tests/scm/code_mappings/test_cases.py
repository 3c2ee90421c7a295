"""The rules of derivation as data: cases.json holds inputs and the outputs that users of such mappings expect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flask_grpcweb_scm.scm.code_mappings.decide import decide, matches_of
from flask_grpcweb_scm.scm.code_mappings.frames import (
    StackFrame,
    StackPath,
    UnsupportedFrame,
    extension,
    read,
    read_frame,
)
from flask_grpcweb_scm.scm.code_mappings.roots import Place, apply_root, choose_roots, find_roots
from flask_grpcweb_scm.scm.code_mappings.trees import TreeIndex, is_source_file

CASES: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("cases.json").read_text())


def cases(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[kind], ids=lambda case: case.get("name") or repr(case.get("path")))


def frame_of(frame: dict[str, Any], platform: str | None) -> StackFrame:
    module = frame.get("module", "")
    return StackFrame(
        frame.get("filename", ""), module, frame.get("abs_path", ""), platform or ("java" if module else "")
    )


def read_all(case: dict[str, Any]) -> list[StackPath]:
    paths = []
    for frame in case["frames"]:
        if frame.get("in_app", True):
            try:
                paths.append(read_frame(frame_of(frame, case.get("platform"))))
            except UnsupportedFrame:
                continue
    return paths


@cases("mappings")
def test_mappings(case: dict[str, Any]) -> None:
    kinds = {"extensions": case["supported_extensions"]} if "supported_extensions" in case else {}
    trees = {
        Place(number, name, case["branch_by_repo"][name]): TreeIndex(files, **kinds)
        for number, (name, files) in enumerate(case["files_by_repo"].items())
    }
    frames = [frame_of(frame, case.get("platform")) for frame in case["frames"] if frame.get("in_app", True)]
    readings = [reading for frame in dict.fromkeys(frames) if (reading := read(frame)).paths]
    findings = [
        decide(reading, [(place, matches_of(index, place, reading)) for place, index in trees.items()])
        for reading in readings
    ]
    stored = {row["stack_root"] for row in case.get("preexisting", [])}
    decided = [finding.mapped for finding in findings if finding.mapped is not None]
    chosen = choose_roots(decided, [], lambda root, _: root not in stored)
    found = [
        {
            "repo": mapped.place.name,
            "branch": mapped.place.branch,
            "stack_root": roots.stack_root,
            "source_root": roots.source_root,
        }
        for mapped, roots in chosen.items()
    ]
    assert found == case["expected"]


@cases("roots")
def test_roots(case: dict[str, Any]) -> None:
    expected = case["expected"]
    if case["error"] == "unsupported":
        with pytest.raises(UnsupportedFrame):
            read_frame(frame_of(case["frame"], case["platform"]))
        return
    roots = find_roots(read_frame(frame_of(case["frame"], case["platform"])), case["source_path"])
    assert (roots and {"stack_root": roots.stack_root, "source_root": roots.source_root}) == expected


@cases("frames")
def test_frames(case: dict[str, Any]) -> None:
    frame = frame_of(case["frame"], case["platform"])
    if case["error"]:
        with pytest.raises(UnsupportedFrame):
            read_frame(frame)
        return
    path = read_frame(frame)
    facts = {"raw_path": path.raw, "normalized_path": path.normalized, "stack_root": path.stack_root}
    assert {name: facts[name] for name in case["expected"]} == case["expected"]


@cases("convert")
def test_convert(case: dict[str, Any]) -> None:
    path = read_frame(frame_of(case["frame"], case["platform"]))
    assert apply_root(path.raw, case["stack_root"], case["source_root"]) == case["expected"]


@cases("extension")
def test_extension(case: dict[str, Any]) -> None:
    assert extension(case["path"]) == case["expected"]


@cases("file_filter")
def test_file_filter(case: dict[str, Any]) -> None:
    kept = [file for file in case["files"] if is_source_file(file)]
    if "expected" in case:
        assert kept == case["expected"]
    for file, index in case.get("expected_index", {}).items():
        assert kept[index] == file


@cases("buckets")
def test_buckets(case: dict[str, Any]) -> None:
    buckets: dict[str, list[str]] = {}
    for path in read_all(case):
        buckets.setdefault(path.stack_root, []).append(path.raw)
    assert buckets == case["expected"]
