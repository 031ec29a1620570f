from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import virtual_time
from tests.unit.dynamodb.fake_batches import session

from awsidecar_server.dynamodb.question_turns import NoTurn, QuestionTurns

CALLERS = [session(f"AKIA{number}").caller for number in range(4)]


class Asking:
    """Questions that hold their turns until they are told not to; notes who has how many."""

    def __init__(self, turns: int) -> None:
        self.turns = QuestionTurns(turns, lambda: asyncio.get_running_loop().time())
        self.has: Counter[int] = Counter()
        self.order: list[int] = []

    def ask(self, caller: int) -> tuple[asyncio.Task[None], asyncio.Event]:
        answered = asyncio.Event()
        return asyncio.create_task(self._ask(caller, answered)), answered

    async def _ask(self, caller: int, answered: asyncio.Event) -> None:
        async with self.turns.turn(CALLERS[caller]):
            self.order.append(caller)
            self.has[caller] += 1
            try:
                await answered.wait()
            finally:
                self.has[caller] -= 1


async def others_run() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("turns", "most"), [(2, 1), (3, 1), (25, 12)])
async def test_one_caller_gets_half_of_the_turns_at_most(turns: int, most: int) -> None:
    asking = Asking(turns)
    tasks = [asking.ask(0)[0] for _ in range(turns)]
    tasks.append(asking.ask(1)[0])
    await others_run()
    assert asking.has == {0: most, 1: 1}
    await _end(tasks)


async def test_turn_goes_to_the_caller_that_has_the_fewest() -> None:
    asking = Asking(4)
    tasks, (first, *_) = zip(*(asking.ask(caller) for caller in (0, 0, 1, 2, 1, 3, 2)), strict=True)
    await others_run()
    assert asking.order == [0, 0, 1, 2]
    first.set()
    await others_run()
    assert asking.order == [0, 0, 1, 2, 3]
    await _end(tasks)


async def test_callers_that_have_as_many_take_turns() -> None:
    asking = Asking(2)
    answers, tasks = [], []
    for caller in (0, 1, 2, 2, 3, 3):
        task, answered = asking.ask(caller)
        tasks.append(task)
        answers.append(answered)
        await others_run()
    for number in range(6):
        answers[{0: 0, 1: 1, 2: 2, 3: 4, 4: 3, 5: 5}[number]].set()
        await others_run()
    assert asking.order == [0, 1, 2, 3, 2, 3]
    await asyncio.gather(*tasks)


async def test_nothing_is_kept_of_a_caller_that_asks_nothing() -> None:
    asking = Asking(2)
    tasks = [asking.ask(caller)[0] for caller in (0, 0, 0, 1, 2)]
    await others_run()
    assert repr(asking.turns) == "<QuestionTurns: 0 free, 3 callers>"
    await _end(reversed(tasks))
    assert repr(asking.turns) == "<QuestionTurns: 2 free, 0 callers>"
    assert not any(asking.turns._lines)


async def test_turn_that_comes_to_one_that_is_cancelled_goes_to_the_next() -> None:
    for is_given_first in (False, True):
        asking = Asking(2)
        (holds, answered), (gives_up, _), (waits, _) = asking.ask(0), asking.ask(0), asking.ask(0)
        await others_run()
        answered.set()
        if is_given_first:
            await asyncio.sleep(0)
        gives_up.cancel()
        await others_run()
        await holds
        assert gives_up.cancelled()
        assert asking.order == [0, 0]
        await _end([waits])
        assert repr(asking.turns) == "<QuestionTurns: 2 free, 0 callers>"


def test_who_has_half_of_the_turns_crowds_nobody_else() -> None:
    async def play() -> None:
        asking = Asking(4)
        tasks = [asking.ask(0)[0] for _ in range(3)]
        await asyncio.sleep(0)
        assert not asking.turns.is_crowded(CALLERS[0])
        with pytest.raises(NoTurn):
            await tasks[2]
        assert asyncio.get_running_loop().time() == 2
        tasks += [asking.ask(1)[0] for _ in range(2)]
        await asyncio.sleep(4.9)
        assert [asking.turns.is_crowded(caller) for caller in CALLERS[:3]] == [True, False, False]
        await asyncio.sleep(0.2)
        assert not asking.turns.is_crowded(CALLERS[0])
        await _end(tasks[:2] + tasks[3:])

    virtual_time.run(play())


def test_free_turn_is_for_whoever_comes_also_after_others_got_none() -> None:
    async def play() -> None:
        asking = Asking(2)
        (first, answered), (second, _), (third, _) = (asking.ask(caller) for caller in (0, 1, 2))
        with pytest.raises(NoTurn):
            await third
        assert asking.turns.is_crowded(CALLERS[2])
        answered.set()
        await first
        assert not asking.turns.is_crowded(CALLERS[2])
        await _end([second])

    virtual_time.run(play())


@given(st.integers(2, 9), st.lists(st.tuples(st.sampled_from(["ask", "answer", "cancel"]), st.integers(0, 30))))
def test_no_turn_is_lost_or_given_twice_and_none_is_free_for_which_somebody_waits(
    turns: int, steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        asking = Asking(turns)
        asked: list[tuple[int, asyncio.Task[None], asyncio.Event]] = []
        for step, number in steps:
            if step == "ask":
                asked.append((number % 4, *asking.ask(number % 4)))
            elif asked and step == "answer":
                asked[number % len(asked)][2].set()
            elif asked:
                asked[number % len(asked)][1].cancel()
            if number % 3:
                await others_run()
        await others_run()
        under_way = Counter(caller for caller, task, _ in asked if not task.done())
        waiting = under_way - asking.has
        assert asking.has.total() <= turns
        assert all(count <= turns // 2 for count in asking.has.values())
        assert asking.has.total() == turns or all(asking.has[caller] == turns // 2 for caller in waiting)
        await _end(task for _, task, _ in asked)
        assert repr(asking.turns) == f"<QuestionTurns: {turns} free, 0 callers>"

    virtual_time.run(play())


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    listed = list(tasks)
    for task in listed:
        task.cancel()
    await asyncio.gather(*listed, return_exceptions=True)
    await others_run()
