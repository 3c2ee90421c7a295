"""Responses of a GraphQL schema to queries: each is parsed and validated once, which takes as long as to respond."""

from __future__ import annotations

import functools
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, execute_sync, parse, validate


def respond(schema: GraphQLSchema, query: str, root: object, variables: dict[str, Any] | None) -> ExecutionResult:
    """As ``graphql_sync``."""
    document = _document(schema, query)
    if isinstance(document, ExecutionResult):
        return document
    return execute_sync(schema, document, root, variable_values=variables)


@functools.lru_cache(1000)
def _document(schema: GraphQLSchema, query: str) -> DocumentNode | ExecutionResult:
    try:
        document = parse(query)
    except GraphQLError as error:
        return ExecutionResult(None, [error])
    errors = validate(schema, document)
    return ExecutionResult(None, errors) if errors else document
