"""Coverage of paths by stack roots."""

from __future__ import annotations

from flask_grpcweb_scm.scm.code_mappings.roots import covering


def test_roots_are_looked_up_not_compared_one_by_one() -> None:
    paths = [f"/srv/{number % 100}/app/package{number}/module.py" for number in range(20_000)]
    roots = {f"/srv/{number}/app": number for number in range(20_000)}
    assert {rank for path in paths for rank in covering(path, roots)} == set(range(100))
