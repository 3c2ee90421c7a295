"""The JSON codec beside json_format."""

from __future__ import annotations

from contextlib import ExitStack

from google.protobuf import json_format

from benchmarks.harness import Goal, Variants, load
from flask_grpcweb_scm.pb.scm_pb2 import ListRepositoriesResponse
from flask_grpcweb_scm.rpc.json_codec import WRITERS, JsonCodec


def page(count: int) -> ListRepositoriesResponse:
    """A page as ScmService answers it."""
    answer = ListRepositoriesResponse()
    for number in range(count):
        repository = answer.repositories.add(
            id=1000 + number,
            organization_id=1,
            name=f"owner/repository-{number}",
            url=f"https://github.com/owner/repository-{number}",
            provider="PROVIDER_GITHUB",
            external_id=str(100_000 + number),
            status="REPOSITORY_STATUS_ACTIVE",
            config={"default_branch": "main", "visibility": "private", "topics": '["a", "b"]'},
        )
        repository.date_added.FromMicroseconds(1_740_000_000_123_456 + number * 12_345_678_901)
    return answer


@load(
    "JSON out 100", reference="json_format",
    goals=[Goal("json", "json_format", at_most=0.5), Goal("orjson", "json_format", at_most=0.3)],
)  # fmt: skip
def out(stack: ExitStack) -> Variants:
    """100 repositories to JSON."""
    message = page(100)
    codecs = {writer: JsonCodec(100, writer=writer) for writer in WRITERS}
    return {
        "json_format": lambda: json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode(),
        "json": lambda: codecs["json"].encode(message),
        "orjson": lambda: codecs["orjson"].encode(message),
    }


@load("JSON in 100", reference="json_format", goals=[Goal("ours", "json_format", at_most=0.3)])
def in_(stack: ExitStack) -> Variants:
    """100 repositories from JSON."""
    codec = JsonCodec(100)
    payload = codec.encode(page(100))
    return {
        "json_format": lambda: json_format.Parse(
            payload.decode(), ListRepositoriesResponse(), ignore_unknown_fields=True
        ),
        "ours": lambda: codec.decode(ListRepositoriesResponse, payload),
    }
