"""The cases from the field, as far as they are about reading: every listed frame is read, with every prefix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flask_grpcweb_scm.scm.code_mappings.tracebacks import TracebackFrame, parse_traceback
from tests.tables import check_rows

FIELD = json.loads(Path(__file__).with_name("field_cases.json").read_text())
TRACES = [
    (case, text, expected)
    for case in FIELD["cases"]
    for text, expected in zip(case.get("traces", []), case["expect"], strict=False)
]
PREFIXES = FIELD["prefixes"]

# "Nothing is read as another language's", by the extensions of the files.
PLATFORMS = {
    "py": "python", "js": "javascript", "mjs": "javascript", "ts": "javascript", "tsx": "javascript", "go": "go",
    "java": "java", "kt": "java", "cs": "csharp", "rb": "ruby", "php": "php", "rs": "rust", "swift": "swift",
    "dart": "dart",
}  # fmt: skip


def meant(frame: TracebackFrame, expected: dict[str, Any]) -> bool:
    return frame.line == expected["line"] if "line" in expected else expected["frame"] in str(frame)


def test_every_listed_frame_is_read() -> None:
    check_rows(check_frames, TRACES)


def check_frames(case: dict[str, Any], text: str, expected: list[dict[str, Any]]) -> None:
    frames = list(parse_traceback(text))
    for one in expected:
        found = [frame for frame in frames if meant(frame, one)]
        assert found, (one, list(map(str, frames)))
        if one["outcome"] == "mapped":
            name = one["source_path"].rpartition("/")[2]
            for frame in found:
                assert name in {(frame.frame.abs_path or frame.frame.path).replace("\\", "/").rpartition("/")[2]}
                assert frame.frame.platform == PLATFORMS[name.rpartition(".")[2]]
    if case.get("no_other_frames"):
        assert all(any(meant(frame, one) for one in expected) for frame in frames)


@pytest.mark.parametrize("language", PREFIXES["frames"])
def test_prefixes_are_seen_through(language: str) -> None:
    sample, found = PREFIXES["frames"][language], {}
    for prefix in PREFIXES["prefixes"]:
        text = "\n".join(f"{prefix['before']}{line}{prefix['after']}" for line in sample["lines"])
        found[prefix["name"]] = [(frame.frame.text, frame.line) for frame in parse_traceback(text)]
    expected = [(sample["path"], sample["line"])]
    assert {name: frames for name, frames in found.items() if frames != expected} == {}
