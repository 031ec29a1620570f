"""Whose turn it is, against a rule that looks at all who have come before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.dynamodb.batches.turns import Turns, is_arn, simple_name

ARNS = [f"arn:aws:dynamodb:eu-central-1:{number:012}:table/T" for number in range(3)]


def test_an_arn_is_told_from_a_name() -> None:
    assert [is_arn(one) for one in ("T", "table", "my.table-1", ARNS[0])] == [False, False, False, True]
    assert simple_name(ARNS[0]) == simple_name("T") == "T"
    assert simple_name(f"{ARNS[0]}/index/by-name") != "T"


class Model:
    """Those that have not left, each with its table and tokens."""

    def __init__(self) -> None:
        self.all: dict[int, tuple[str, frozenset[str]]] = {}

    def has_turn(self, one: int) -> bool:
        table, tokens = self.all[one]
        return not any(
            tokens & others and (other == table or not (is_arn(other) and is_arn(table)))
            for number, (other, others) in self.all.items()
            if number < one
        )

    def turns(self) -> set[int]:
        return {one for one in self.all if self.has_turn(one)}


@given(
    st.lists(
        st.tuples(st.sampled_from(["T", *ARNS]), st.frozensets(st.sampled_from("abc"), min_size=1)), max_size=40
    ),
    st.data(),
)
def test_each_waits_for_those_before_it_that_may_be_of_the_same_table_and_for_no_others(
    ones: list[tuple[str, frozenset[str]]], data: st.DataObject
) -> None:
    turns, model, come = Turns[int](), Model(), 0
    while come < len(ones) or model.all:
        before = model.turns()
        if come < len(ones) and (not before or data.draw(st.booleans())):
            table, tokens = ones[come]
            model.all[come] = ones[come]
            waits = any(turns.would_wait(table, token) for token in tokens)
            assert turns.enter(come, table, tokens) is model.has_turn(come) is not waits
            come += 1
        else:
            one = data.draw(st.sampled_from(sorted(before)))
            table, tokens = model.all.pop(one)
            assert set(turns.leave(one, table, tokens)) == model.turns() - before
        assert {one for one in model.all if turns.has_turn(one)} == model.turns()
    assert not any(turns.would_wait(table, token) for table in ("T", *ARNS) for token in "abc")
