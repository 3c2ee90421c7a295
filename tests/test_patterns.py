"""No regular expression of the package takes more than linear time, whatever the text.

For each pattern an automaton is made, whose states are the places in the pattern that read a character. A backtracking
matcher may try each way that a text has through it. The number of ways is bounded, whatever the length of the text,
unless (Weber and Seidl, "On the degree of the ambiguity of finite automata", 1991)

- one text leads on two ways from a place to itself: as in ``(a*)*``, where it grows exponentially;
- one text leads from a place to itself, from there to another place, and from that to itself: as in ``a*a*``.

A pattern that is searched for may begin anywhere, so that it is tested with ``.*`` before it, unless it says where it
begins. That ``.*`` and a repetition at its own end are no two: the latter takes all that it can, and the next search
begins there. A repetition of at most :data:`FEW` turns is as many optional ones; any other with a limit counts for the
first rule alone. Lookarounds are left out, and what a group has matched may be any text.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.imports import FILES

if sys.version_info >= (3, 11):
    from re import _compiler as sre_compiler
    from re import _constants as sre
    from re import _parser as sre_parser
else:
    import sre_compile as sre_compiler
    import sre_constants as sre
    import sre_parse as sre_parser

FEW = 3
EXPONENTIAL = "a repetition of what may be read in two ways"
SEARCHING = {"search", "sub", "subn", "split", "findall", "finditer"}
USES = SEARCHING | {"compile", "match", "fullmatch"}
TAKING_PATTERNS = {"fitting"}
# Of every kind that patterns tell apart: ASCII, Latin-1, letters and digits of others, line ends, lone surrogates.
SAMPLE = [*range(256), 0x131, 0x17F, 0x3B1, 0x660, 0x2028, 0x212A, 0x4E00, 0xD800, 0x1F600]


@dataclass
class Piece:
    """A part of a pattern: the places at which it begins and ends, as often as there are ways."""

    first: Counter[int] = field(default_factory=Counter)
    last: Counter[int] = field(default_factory=Counter)
    ways_past: int = 1
    """Ways through it without a character."""


class Automaton:
    """The places of a pattern, and the number of ways from each to each."""

    def __init__(self, pattern: str | bytes, flags: int = 0, *, is_searched: bool = False) -> None:
        self.characters: list[frozenset[int]] = []
        self.follow: list[Counter[int]] = []
        parsed = sre_parser.parse(pattern, flags)
        self.flags = parsed.state.flags
        self._is_searched = is_searched
        self._limited: set[int] = set()
        start = self._loop(self._place(frozenset(SAMPLE))) if is_searched else Piece()
        self._ends = self._join([start, self._sequence(parsed)]).last
        self._reached = [self._reach(place) for place in range(len(self.follow))]

    # Making it

    def _place(self, characters: frozenset[int]) -> Piece:
        self.characters.append(characters)
        self.follow.append(Counter())
        place = len(self.follow) - 1
        return Piece(Counter([place]), Counter([place]), 0)

    def _join(self, pieces: Iterable[Piece]) -> Piece:
        joined = Piece()
        for piece in pieces:
            self._connect(joined.last, piece.first)
            first = joined.first + _times(piece.first, joined.ways_past)
            last = piece.last + _times(joined.last, piece.ways_past)
            joined = Piece(first, last, joined.ways_past * piece.ways_past)
        return joined

    def _connect(self, ends: Counter[int], begins: Counter[int]) -> None:
        for end, ways in ends.items():
            for begin, more in begins.items():
                self.follow[end][begin] += ways * more

    def _loop(self, piece: Piece) -> Piece:
        self._connect(piece.last, piece.first)
        return Piece(piece.first, piece.last, 1)

    def _sequence(self, items: Any) -> Piece:
        return self._join([self._item(operator, argument) for operator, argument in items])

    def _item(self, operator: Any, argument: Any) -> Piece:
        if operator in {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN, sre.CATEGORY}:
            return self._place(self._members(operator, argument))
        if operator is sre.AT and argument in {sre.AT_BEGINNING, sre.AT_BEGINNING_STRING} and self._is_searched:
            return self._place(frozenset())  # no text leads there
        if operator in {sre.AT, sre.ASSERT, sre.ASSERT_NOT}:
            return Piece()
        if operator is sre.SUBPATTERN:
            _, added, removed, body = argument
            before, self.flags = self.flags, (self.flags | added) & ~removed
            piece = self._sequence(body)
            self.flags = before
            return piece
        if operator in {sre.BRANCH, sre.GROUPREF_EXISTS}:
            branches = argument[1] if operator is sre.BRANCH else argument[1:]
            return _either([self._sequence(branch or []) for branch in branches])
        if operator is sre.GROUPREF:
            return self._loop(self._place(frozenset(SAMPLE)))
        return self._sequence(argument) if operator.name == "ATOMIC_GROUP" else self._repetition(*argument)

    def _repetition(self, least: int, most: int, body: Any) -> Piece:
        if most > FEW:
            start = len(self.follow)
            piece = self._loop(self._sequence(body))
            inside = range(start, len(self.follow))
            self._limited = self._limited - {*inside} if most is sre.MAXREPEAT else self._limited | {*inside}
            return Piece(piece.first, piece.last, int(least == 0))
        # "a{1,3}" is "a(a(a)?)?": nothing is left out before what is read.
        piece = Piece()
        for turn in range(most, 0, -1):
            piece = self._join([self._sequence(body), piece])
            if turn > least:
                piece.ways_past = 1
        return piece

    def _members(self, operator: Any, argument: Any) -> frozenset[int]:
        state = sre_parser.State()
        state.flags = self.flags
        compiled = sre_compiler.compile(sre_parser.SubPattern(state, [(operator, argument)]), self.flags)
        return frozenset(number for number in SAMPLE if compiled.match(chr(number)))

    # Looking at it

    def _reach(self, place: int) -> frozenset[int]:
        reached: set[int] = set()
        waiting = [place]
        while waiting:
            for other in self.follow[waiting.pop()]:
                if other not in reached:
                    reached.add(other)
                    waiting.append(other)
        return frozenset(reached)

    @property
    def problem(self) -> str:
        """The reason why a text may take more than linear time; empty when none does."""
        loops = [place for place, reached in enumerate(self._reached) if place in reached]
        for place in loops:
            if any(ways > 1 for end in self._loop_of(place) for other, ways in self._inside(end, place)):
                return EXPONENTIAL
            if self._leads((place, place), (place, place), apart=True):
                return EXPONENTIAL
        # With a limit there are as many ways at most.
        unlimited = [place for place in loops if place not in self._limited]
        for first in unlimited:
            for second in unlimited:
                is_behind = second in self._reached[first] and first != second
                if self._is_searched and first == 0 and all(end in self._ends for end in self._loop_of(second)):
                    continue
                if is_behind and self._leads((first, first, second), (first, second, second)):
                    return "two repetitions, between which a text may be divided in many ways"
        return ""

    def _loop_of(self, place: int) -> list[int]:
        return [other for other in self._reached[place] if place in self._reached[other]]

    def _inside(self, end: int, place: int) -> list[tuple[int, int]]:
        return [(other, ways) for other, ways in self.follow[end].items() if place in self._reached[other] | {other}]

    def _leads(self, start: tuple[int, ...], goal: tuple[int, ...], *, apart: bool = False) -> bool:
        """Tell whether one text leads from each place to the one of the goal.

        :param apart: on ways that are not the same at some point.
        """
        seen = {(start, False)}
        waiting = [(start, False)]
        while waiting:
            places, were_apart = waiting.pop()
            for reached in self._steps(places, goal):
                state = reached, apart and (were_apart or len(set(reached)) > 1)
                if reached == goal and state[1] == apart:
                    return True
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        return False

    def _steps(self, places: tuple[int, ...], goal: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        ways = [
            [other for other in self.follow[place] if other == end or end in self._reached[other]]
            for place, end in zip(places, goal, strict=True)
        ]
        for reached in itertools.product(*ways):
            if frozenset.intersection(*(self.characters[place] for place in reached)):
                yield reached


def _times(counter: Counter[int], number: int) -> Counter[int]:
    return Counter({key: value * number for key, value in counter.items() if number})


def _either(pieces: list[Piece]) -> Piece:
    firsts, lasts = ([getattr(piece, name) for piece in pieces] for name in ("first", "last"))
    ways_past = sum(piece.ways_past for piece in pieces)
    return Piece(sum(firsts, Counter()), sum(lasts, Counter()), ways_past)


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a*)*", "(a+)+", "(a|a)*", "(?:a*b*)*", "(a|aa)+", r"(?:\w+\s?)*", "a*a*", "a+b?a+", r".*:.*:"),
        *(
            r"\s*(\w|\s)*x",
            "a*(?:b|a*)",
            r"\d+\w+",
            "([a-z]{0,50}){0,50}",
            "(?i:a*A*)",
            "[^b]*a*",
            rb"[^b]*a*",
            "(ab)*(ab)*",
        ),
    ],
)
def test_a_pattern_of_more_than_linear_time_is_found(pattern: str | bytes) -> None:
    assert Automaton(pattern).problem


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "a*b*",
            "(ab)*",
            "(a|b)*",
            "a*ba*",
            "(?:a*b)*",
            r"\w+(?:\.\w+)*",
            r"[^\]]*\]",
            "a?a?a",
            "(?:a|b)c|ad",
            "a{3}a",
        ),
        *(r"(?:[^|\"]*\|)*[\s+]*x", r"(a)?(?(1)b|c*)", "x*(?=x*)y*", r"\s*\S*", rb"\s*\S*"),
    ],
)
def test_a_pattern_of_linear_time_is_none(pattern: str | bytes) -> None:
    assert Automaton(pattern).problem == ""


@pytest.mark.parametrize(
    ("pattern", "is_slow"),
    [
        ("a+b", True),
        ("a+", False),
        ("^a+b", False),
        (r"\Aa+b|c", False),
        ("a+b|^c", True),
        ("b[^b]*c", False),
        ("b.*c", True),
    ],
)
def test_a_search_may_begin_anywhere(pattern: str, is_slow: bool) -> None:
    assert Automaton(pattern).problem == ""
    assert bool(Automaton(pattern, is_searched=True).problem) == is_slow


# The patterns of the package


@dataclass(frozen=True)
class Use:
    """A pattern in a module."""

    module: str
    pattern: str | bytes
    flags: int
    is_searched: bool


def uses(module: str) -> Iterator[Use]:
    """Yield the patterns that a module compiles or uses, or has as text under a name."""
    names = vars(importlib.import_module(module))
    tree = ast.parse(FILES[module].read_text())
    searched = {id(each) for each in _searched(tree, names)}
    for value in _inside(value for name, value in names.items() if not name.startswith("__")):
        if isinstance(value, re.Pattern):
            yield Use(module, value.pattern, value.flags & ~re.UNICODE, id(value) in searched)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TAKING_PATTERNS:
            texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            yield from (Use(module, text, 0, False) for text in texts if isinstance(text, str))
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in USES and isinstance(node.func.value, ast.Name) and node.func.value.id == "re":
            flags = [keyword.value for keyword in node.keywords if keyword.arg == "flags"] or node.args[2:3]
            try:
                pattern = _evaluated(node.args[0], names)
            except NameError:  # it is an argument of the function
                continue
            is_flagged = flags and node.func.attr not in SEARCHING - {"search", "findall", "finditer"}
            number = int(_evaluated(flags[-1], names)) if is_flagged else 0
            yield Use(module, pattern, number, node.func.attr in SEARCHING)


def _searched(tree: ast.AST, names: dict[str, Any]) -> Iterator[Any]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SEARCHING and isinstance(node.value, ast.Name):
            yield names.get(node.value.id)


def _evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "", "eval"), names)


def _inside(values: Iterable[Any]) -> Iterator[Any]:
    seen: set[int] = set()
    waiting = [*values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))
            waiting += [*value, *value.values()] if isinstance(value, dict) else value
        yield value


# Of other patterns the text is short.
SHORT = {
    # Of a page 8 KiB are read.
    "flask_grpcweb_scm.client.errors": r"<(style|script)\b.*?</\1[^>]*>|<[^>]*>?",
}
# Of stack traces each line is matched, and longer ones are cut: only what grows exponentially is ruled out.
LINES = "flask_grpcweb_scm.scm.code_mappings.tracebacks"
# It can be imported by Alembic alone.
MODULES = [module for module in FILES if not module.endswith("migrations.env")]


@pytest.mark.needs("time")
def test_patterns_take_linear_time() -> None:
    slow = {
        f"{module}: {use.pattern!r}{' searched' * use.is_searched}": problem
        for module in MODULES
        for use in dict.fromkeys(uses(module))
        if use.pattern != SHORT.get(module)
        if (problem := Automaton(use.pattern, use.flags, is_searched=use.is_searched).problem)
        if problem == EXPONENTIAL or not module.startswith(LINES)
    }
    assert slow == {}
