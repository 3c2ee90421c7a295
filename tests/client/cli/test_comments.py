"""Comments of a .proto file, found by the names of definitions."""

from __future__ import annotations

from flask_grpcweb_scm.client.cli.comments import read_comments

COMMENTS = """\
// Of the file.
syntax = "proto3";

// Of the service.
service S {
  // Of a method,
  // in two lines.
  rpc Plain(M) returns (M);
  rpc Silent(M) returns (stream M) {
    option idempotency_level = IDEMPOTENT;
  }
}
// Cut off.

message M {
  // Of a message in it.
  message Inner {
    // Deep.
    map<string, Inner> many = 1;
  }
  oneof choice {
    // Chosen.
    repeated .a.b.Thing thing = 2;
  }
  // After all that.
  optional int32 last = 3;
}
"""


def test_comments_are_found_by_name() -> None:
    assert read_comments(COMMENTS) == {
        "S": "Of the service.",
        "S.Plain": "Of a method,\nin two lines.",
        "M.Inner": "Of a message in it.",
        "M.Inner.many": "Deep.",
        "M.thing": "Chosen.",
        "M.last": "After all that.",
    }
