"""Which statements are taken for reads: those that are one however comments are read, and no write ever."""

from __future__ import annotations

from itertools import product, takewhile
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from awsidecar_server.aws.idempotency import Nature, nature_of

DELETE = "DELETE FROM films WHERE id = '1'"
SELECT = "SELECT * FROM films"


class Dialect(NamedTuple):
    """What parsers of PartiQL might differ in."""

    comments_nest: bool
    line_ends: str


DIALECTS = [
    Dialect(*one)
    for one in product([False, True], ["\n", "\n\r", "\n\r\v\f\x1c\x1d\x1e\x85\N{LINE SEPARATOR}\u2029"])
]


def first_word(statement: str, dialect: Dialect) -> str | None:
    """The first word behind white space, comments and parentheses, in capitals; None: there is none."""
    rest = statement
    while rest:
        if rest.startswith("--"):
            ends = [place for place in map(rest.find, dialect.line_ends) if place >= 0]
            rest = rest[min(ends) + 1 :] if ends else ""
        elif rest.startswith("/*"):
            rest = after_comment(rest, nests=dialect.comments_nest)
        elif rest[0].isspace() or rest[0] == "(":
            rest = rest[1:]
        else:
            return "".join(takewhile(lambda one: one.isalnum() or one in "_$", rest)).upper()
    return None


def after_comment(text: str, *, nests: bool) -> str:
    depth, rest = 1, text[2:]
    while rest and depth:
        step = rest[:2]
        if step == "*/" or (nests and step == "/*"):
            depth += 1 if step == "/*" else -1
            rest = rest[2:]
        else:
            rest = rest[1:]
    return rest


def is_read(statement: str) -> bool:
    return nature_of("ExecuteStatement", lambda: {"Statement": statement}) is Nature.READ


PIECES = ["/*", "*/", "--", "\n", "\r", "\v", "\N{LINE SEPARATOR}", "(", ")", " ", "*", "/", "-", "'", '"', "x"]
WORDS = [" SELECT ", "SELECT*", "SELECT(", "SELECTED ", "DELETE ", DELETE, SELECT, "select\t"]


@settings(max_examples=1_000)
@given(st.lists(st.sampled_from(PIECES + WORDS), max_size=12).map("".join))
@example(f"/* /* */ {SELECT} */ {DELETE}")
@example(f"-- \r{DELETE}--\n{SELECT}")
@example(f"-- \v{DELETE}--\n{SELECT}")
@example(f"-- \x85{DELETE}--\n{SELECT}")
@example(f"-- \n\rx*/{SELECT}")
@example(f"-- \N{LINE SEPARATOR}{DELETE}--\n{SELECT}")
@example(f"/*/ {SELECT} */ {DELETE}")
def test_statement_is_a_read_only_when_select_is_its_first_word_in_every_dialect(statement: str) -> None:
    if is_read(statement):
        assert {first_word(statement, dialect) for dialect in DIALECTS} == {"SELECT"}


COMMENT_TEXT = st.text(st.sampled_from("ab '\"-(;"), max_size=8)
OPENINGS = [" ", "\t", "\n", "\r\n", "(", "((", "/**/", "/***/", "/* * / */", "--\n", "-- /* \r\n", "/* -- */"]
BEFORE = st.lists(
    st.sampled_from(OPENINGS)
    | COMMENT_TEXT.map(lambda text: f"/*{text}*/")
    | COMMENT_TEXT.map(lambda text: f"--{text}\n"),
    max_size=6,
).map("".join)


@given(
    BEFORE,
    st.sampled_from(["SELECT", "select", "SeLect"]),
    st.sampled_from([" ", "\n", "*", "(", '"', "/**/", "--"]),
)
def test_select_is_seen_through_whatever_stands_before_it(before: str, word: str, after: str) -> None:
    assert is_read(f"{before}{word}{after}id FROM films")


@given(
    BEFORE,
    st.sampled_from(["DELETE", "INSERT", "UPDATE", "SELECTED", "SELECT_", "SELECT$", "SELECT1", "x", ")", "*/"]),
)
def test_no_other_word_is_one(before: str, word: str) -> None:
    assert not is_read(f"{before}{word} * FROM films; {SELECT}")


@pytest.mark.parametrize(
    "space", ["\v", "\f", "\xa0", "\x1c", "\x1f", "\x85", "\u2003", "\u3000", "\N{LINE SEPARATOR}", "\ufeff"]
)
def test_white_space_that_partiql_does_not_take_is_none(space: str) -> None:
    assert not is_read(f"{space}{SELECT}")
    assert not is_read(f" ({space}{SELECT})")


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELECT",
        f"/* {SELECT}",
        f"/*/ {SELECT}",
        f"-- {SELECT}",
        f"-- SELECT\r{DELETE}",
        f"/* SELECT */ {DELETE}",
        f"-- SELECT\n{DELETE}",
        f"({DELETE})",
        f"({DELETE}) UNION ({SELECT})",
        f"/ * x * / {SELECT}",
        f"- - x\n{SELECT}",
        "\N{LATIN SMALL LETTER LONG S}ELECT * FROM films",
        f"/*{'x' * 8192}*/ {SELECT}",
        "SELECT".rjust(8192) + "ED * FROM films",
    ],
)
def test_what_is_no_select_or_may_be_something_else_is_none(statement: str) -> None:
    assert not is_read(statement)


def test_long_openings_are_read_in_no_time() -> None:
    """Or whoever sends one keeps the others waiting; with a second look back this would take years."""
    for before in ("/*" * 500_000, "(" * 1_000_000, "--\n" * 300_000, "/**/" * 300_000, "/" * 1_000_000):
        assert not is_read(before + DELETE)
