from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.dynamodb.changes.lineage import Lineage, ListedShard
from awsidecar_server.dynamodb.changes.positions import After, At, End, Oldest, OldestOfLine, Since

ROOT = ListedShard("root", None, "01", is_open=False)
LEFT = ListedShard("left", "root", "02")
RIGHT = ListedShard("right", "root", "03")
SON = ListedShard("son", "left", "04")


def test_children_begin_at_their_first_record_when_the_parent_is_read() -> None:
    lineage = Lineage({"root": After("01")})
    lineage.learn([ROOT, LEFT, RIGHT])
    assert lineage.begin() == {}
    lineage.advance("root", End())
    assert lineage.begin() == {"left": At("02"), "right": At("03")}
    assert lineage.frontier == {"left": At("02"), "right": At("03")}


def test_parent_that_looks_open_is_read_before_its_children_all_the_same() -> None:
    lineage = Lineage({"root": After("01")})
    lineage.learn([ListedShard("root"), LEFT])
    assert lineage.begin() == {}


def test_grandchildren_wait_for_their_own_parent() -> None:
    lineage = Lineage({"root": End()})
    lineage.learn([ROOT, LEFT, SON])
    assert lineage.begin() == {"left": At("02")}
    assert lineage.begin() == {}
    lineage.advance("left", End())
    assert lineage.begin() == {"son": At("04")}


def test_child_that_is_listed_later_than_its_sibling_is_read_too() -> None:
    lineage = Lineage({"root": End()})
    lineage.learn([ROOT, LEFT])
    lineage.begin()
    resumed = Lineage(lineage.frontier)
    for one in (lineage, resumed):
        one.learn([ROOT, LEFT, RIGHT])
        assert one.begin() == {"right": At("03")}


def test_child_that_is_listed_later_is_read_too_when_its_parent_is_listed_no_longer() -> None:
    lineage = Lineage({"left": After("02")})
    lineage.learn([LEFT, RIGHT])
    assert lineage.begin() == {"right": At("03")}
    assert lineage.gaps() == set()


def test_ancestors_of_what_is_being_read_are_not_read_again() -> None:
    lineage = Lineage({"son": After("04"), "right": After("03")})
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert lineage.begin() == {}


def test_list_from_before_the_children_makes_no_parent_look_unread() -> None:
    lineage = Lineage({"root": End()})
    lineage.learn([ROOT, LEFT, RIGHT])
    lineage.begin()
    lineage.learn([ROOT])
    assert lineage.begin() == {}
    lineage.learn([ROOT, LEFT, RIGHT])
    assert lineage.begin() == {}


def test_ancestors_are_forgotten_long_after_aws_has() -> None:
    lineage = Lineage({"0": After("1")})
    shards = [ListedShard(str(number), str(number - 1), str(number), is_open=False) for number in range(2000)]
    for number in range(1, 2000):
        lineage.learn(shards[max(0, number - 6) : number + 1])
        lineage.advance(str(number - 1), End())
        assert lineage.begin() == {str(number): At(str(number))}
        # Lists that come late.
        if number > 10:
            lineage.learn(shards[number - 20 : number - 14] if number > 20 else shards[:5])
            assert lineage.begin() == {}
            assert lineage.gaps() <= {str(number - 21)}
    assert len(lineage) < 40


def test_nothing_begins_while_a_shard_of_the_checkpoint_is_not_listed() -> None:
    resumed = Lineage({"left": After("02"), "right": After("03")})
    resumed.learn([ROOT, LEFT])
    assert resumed.begin() == {}
    assert resumed.gaps() == {"right"}
    resumed.learn([ROOT, LEFT, RIGHT])
    assert resumed.begin() == {}
    assert resumed.gaps() == set()


def test_children_of_what_is_read_begin_beside_a_missing_beginning_and_not_beside_another_missing_shard() -> None:
    for beginnings, begun in (({"p", "q"}, ["c"]), ({"p"}, []), (set[str](), [])):
        lineage = Lineage({"p": Oldest(), "q": Oldest(), "o": After("1")})
        lineage.learn([ListedShard("o"), ListedShard("c", "o"), ListedShard("root")])
        lineage.advance("o", End())
        assert list(lineage.begin(beginnings)) == begun


def test_parent_does_not_look_unread_while_the_shard_of_the_checkpoint_is_not_listed() -> None:
    resumed = Lineage({"left": After("02")})
    resumed.learn([ROOT])
    assert resumed.begin() == {}
    assert resumed.gaps() == {"left"}


def test_list_from_before_the_children_makes_no_gap() -> None:
    lineage = Lineage({"root": End()})
    lineage.learn([ROOT, LEFT, RIGHT])
    lineage.begin()
    lineage.learn([ROOT])
    assert lineage.gaps() == set()


def test_child_without_its_parent_is_a_gap_and_waits() -> None:
    lineage = Lineage({"right": After("03")})
    lineage.learn([ROOT, RIGHT, SON])
    assert lineage.begin() == {}
    assert lineage.gaps() == {"left"}
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert lineage.gaps() == set()
    assert lineage.begin() == {"left": At("02")}


def test_shard_that_is_read_and_gone_is_no_gap_once_its_child_is_listed() -> None:
    lineage = Lineage({"left": End()})
    lineage.learn([])
    assert lineage.gaps() == {"left"}
    lineage.learn([SON])
    assert lineage.gaps() == set()
    assert lineage.begin() == {"son": At("04")}


def test_shard_without_parent_that_appears_is_read_from_its_beginning() -> None:
    lineage = Lineage({"left": Since(1)})
    lineage.learn([LEFT, ListedShard("new"), ListedShard("newer", None, "05")])
    assert lineage.begin() == {"new": Oldest(), "newer": At("05")}


def test_leaves_and_roots_of_what_is_listed() -> None:
    lineage = Lineage()
    lineage.learn([LEFT, RIGHT, SON])
    assert sorted(lineage.leaves()) == ["right", "son"]
    assert sorted(lineage.roots()) == ["left", "right"]
    assert [shard.shard_id for shard in lineage.orphans()] == ["left", "right"]


def is_read(lineage: Lineage) -> bool:
    return lineage.is_read


def test_everything_is_read_when_no_shard_is_under_way_and_none_unread() -> None:
    lineage = Lineage({"left": End(), "right": End()})
    lineage.learn([ROOT, LEFT, RIGHT])
    assert is_read(lineage)
    assert lineage.seeks_children
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert not is_read(lineage)
    lineage.begin()
    assert not is_read(lineage)


@given(st.lists(st.integers(-1, 30), max_size=20), st.data())
def test_what_begins_after_an_end_is_what_a_lineage_begins_that_knows_nothing_but_frontier_and_list(
    parents: list[int], data: st.DataObject
) -> None:
    listed = [
        ListedShard(f"s{number}", f"s{parent}" if 0 <= parent < number else None)
        for number, parent in enumerate(parents)
    ]
    lineage = Lineage({one.shard_id: After("1") for one in listed if data.draw(st.booleans())})
    lineage.learn(listed)
    lineage.begin()
    while open_ := [name for name, position in lineage.frontier.items() if position != End()]:
        for name in data.draw(st.lists(st.sampled_from(open_), min_size=1, max_size=3, unique=True)):
            lineage.advance(name, End())
        fresh = Lineage(lineage.frontier)
        fresh.learn(listed)
        assert (lineage.begin(), lineage.frontier) == (fresh.begin(), fresh.frontier)
        assert (lineage.seeks_children, lineage.is_read) == (fresh.seeks_children, fresh.is_read)
        assert (lineage.unlisted, lineage.gaps()) == (fresh.unlisted, fresh.gaps())


def test_shard_that_is_read_though_it_is_not_listed_lets_the_others_begin_once_its_child_is() -> None:
    lineage = Lineage({"left": After("02"), "right": After("03")})
    lineage.learn([RIGHT, SON, ListedShard("grandson", "right", "05")])
    lineage.advance("right", End())
    assert lineage.begin() == {}
    lineage.advance("left", End())
    assert lineage.begin() == {"son": At("04"), "grandson": At("05")}


def test_end_that_others_descend_from_is_not_kept_for_children_that_are_known() -> None:
    lineage = Lineage({"root": Since(1), "son": Since(1)})
    lineage.learn([ROOT, SON])
    lineage.advance("root", End())
    assert lineage.seeks_children
    lineage.learn([ROOT, LEFT, SON])
    assert lineage.begin() == {}
    assert (lineage.frontier, lineage.seeks_children) == ({"son": Since(1)}, False)
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert lineage.begin() == {"right": At("03")}
    ends_later = Lineage({"root": Since(1), "son": Since(1)})
    ends_later.learn([ROOT, LEFT, SON])
    ends_later.begin()
    ends_later.advance("root", End())
    ends_later.begin()
    assert ends_later.frontier == {"son": Since(1)}


def test_shard_that_stands_for_its_line_gives_way_to_the_oldest_listed_before_it() -> None:
    lineage = Lineage({"son": OldestOfLine(), "right": OldestOfLine()})
    lineage.learn([LEFT, RIGHT, SON])
    assert lineage.climb() == {}
    assert lineage.frontier == {"left": OldestOfLine(), "right": OldestOfLine()}
    assert lineage.oldest() == {"root": [LEFT, RIGHT]} or lineage.oldest() == {"root": [RIGHT, LEFT]}
    assert (lineage.begin(), lineage.gaps(), lineage.is_read) == ({}, set(), False)
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert lineage.climb() == {"root": Oldest()}
    assert lineage.frontier == {"root": Oldest()}


def test_shard_that_stands_for_its_line_follows_ancestors_that_are_being_read_or_were() -> None:
    lineage = Lineage({"son": OldestOfLine(), "root": After("01")})
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert (lineage.climb(), lineage.frontier) == ({}, {"root": After("01")})
    lineage = Lineage({"son": OldestOfLine(), "right": After("03")})
    lineage.learn([ROOT, LEFT, RIGHT, SON])
    assert (lineage.climb(), lineage.begin()) == ({}, {"left": At("02")})


def test_shards_that_are_each_other_s_parents_are_not_followed_for_ever() -> None:
    lineage = Lineage({"left": OldestOfLine()})
    lineage.learn([ListedShard("left", "right"), ListedShard("right", "left")])
    assert (lineage.climb(), lineage.frontier) == ({}, {})


def test_others_begin_while_a_shard_that_stands_for_its_line_is_not_listed() -> None:
    lineage = Lineage({"root": End(), "elsewhere": OldestOfLine()})
    lineage.learn([ROOT, LEFT])
    assert lineage.gaps() == {"elsewhere"}
    assert lineage.begin() == {"left": At("02")}


@given(st.lists(st.integers(-1, 30), max_size=20), st.data())
def test_lines_are_read_whole_and_each_shard_once_whichever_shards_stand_for_them(
    parents: list[int], data: st.DataObject
) -> None:
    listed = [
        ListedShard(f"s{number}", f"s{parent}" if 0 <= parent < number else None)
        for number, parent in enumerate(parents)
    ]
    known = {one.parent_id for one in listed}
    leaves = [one.shard_id for one in listed if one.shard_id not in known]
    others = [one.shard_id for one in listed if data.draw(st.booleans())]
    lineage = Lineage(dict.fromkeys(data.draw(st.permutations([*{*leaves, *others}])), OldestOfLine()))
    lineage.learn(listed)
    begun = [*lineage.climb()]
    for shard_id in begun:
        lineage.advance(shard_id, End())
        begun += lineage.begin()
    assert sorted(begun) == sorted(one.shard_id for one in listed)
    assert all(one.parent_id is None or begun.index(one.parent_id) < begun.index(one.shard_id) for one in listed)
