"""The example's own service: a unary and a server-streaming method."""

import secrets
import time
from collections.abc import Iterator

from flask import current_app

from example_app import dice_pb2
from example_app.dice_rpc import Dice
from flask_grpcweb_scm import CallContext, RpcError, StatusCode

__all__ = ["dice"]

dice = Dice()


@dice.Roll
def roll(request: dice_pb2.RollRequest, context: CallContext) -> dice_pb2.RollReply:
    """Roll once."""
    return _throw(_sides(request.sides))


@dice.RollUntil
def roll_until(request: dice_pb2.RollUntilRequest, context: CallContext) -> Iterator[dice_pb2.RollReply]:
    """Roll until the target comes up, with a pause of ``DICE_PAUSE`` seconds after each miss."""
    sides = _sides(request.sides)
    if not 1 <= request.target <= sides:
        raise RpcError(StatusCode.INVALID_ARGUMENT, f"target must be 1 to {sides}, got {request.target}")
    while True:
        reply = _throw(sides)
        yield reply
        if reply.value == request.target:
            return
        time.sleep(current_app.config["DICE_PAUSE"])


dice.example("Roll", dice_pb2.RollRequest(sides=20), title="A die with twenty sides")
dice.example("Roll", dice_pb2.RollRequest(sides=1), title="A die that cannot be made")
dice.example("RollUntil", dice_pb2.RollUntilRequest(target=6), title="Until a six comes up")


def _sides(wanted: int) -> int:
    sides = wanted or 6
    if not 2 <= sides <= 100:
        raise RpcError(StatusCode.INVALID_ARGUMENT, f"sides must be 2 to 100, or 0 for 6, got {wanted}")
    return sides


def _throw(sides: int) -> dice_pb2.RollReply:
    return dice_pb2.RollReply(value=1 + secrets.randbelow(sides))
