from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.unit.documents.documents import DOUBLES, NAMES, base64, documents, item, items, numbers, struct

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar_server.bridge import UnreadableReply
from awsidecar_server.bridge.faults import Fault
from awsidecar_server.documents.values import NotExact, to_attributes, to_struct

# Names that say nothing to the mapping, and names of data that begin as its own do.
ORDINARY = st.text(max_size=3).filter(lambda name: not name.startswith("$"))
ESCAPED = NAMES.map(lambda name: f"$${name}")
LEAVES = st.none() | st.booleans() | DOUBLES | st.text(max_size=5)
# Each as a reply writes it, so that it comes back as it is.
FORMS = st.one_of(
    numbers().filter(lambda text: abs(Decimal(text)) >= 2**53).map(lambda text: {"$N": text}),
    st.binary(max_size=4).map(lambda raw: {"$B": base64(raw)}),
    st.lists(st.text(max_size=3), max_size=3).map(lambda texts: {"$SS": texts}),
    st.lists(numbers(), max_size=3).map(lambda texts: {"$NS": texts}),
    st.lists(st.binary(max_size=3), max_size=3).map(lambda raws: {"$BS": [base64(raw) for raw in raws]}),
)
# Anything that a caller may send, with much that is nearly right.
ANYTHING = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.sampled_from(["1", "aGk=", "%%"]) | FORMS
)


def attributes_of(document: Struct) -> Item:
    made = Item()
    to_attributes(document, made.attributes)
    return made


def struct_of(given_item: Item, *, large_as_text: bool = True) -> Struct:
    made = Struct()
    to_struct(given_item.attributes, made, large_as_text=large_as_text)
    return made


def fault_of(document: dict[str, Any] | Struct) -> tuple[str, str]:
    with pytest.raises(Fault) as fault:
        attributes_of(document if isinstance(document, Struct) else struct(document))
    return fault.value.path, fault.value.problem


def with_plain_numbers(value: Any) -> Any:
    """An item's JSON with its numbers as numbers, however they are written."""
    if isinstance(value, list):
        return [with_plain_numbers(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"N"} and isinstance(value["N"], str):
        return {"N": Decimal(value["N"])}
    return {name: with_plain_numbers(held) for name, held in value.items()}


@given(items())
@example(item({"a": {"M": {"$SS": {"L": [{"S": "x"}]}}}, "$N": {"S": "1"}}))
def test_every_item_comes_back_from_its_document(whole: Item) -> None:
    back = attributes_of(Struct.FromString(struct_of(whole).SerializeToString()))
    assert with_plain_numbers(MessageToDict(back)) == with_plain_numbers(MessageToDict(whole))


@given(documents(ORDINARY | ESCAPED, LEAVES | FORMS))
@example(struct({"a": {"$$SS": ["x"]}, "$$N": "1"}))
def test_every_document_comes_back_from_its_item(document: Struct) -> None:
    assert struct_of(attributes_of(document)) == document


@given(documents(ORDINARY | ESCAPED, LEAVES))
def test_document_of_doubles_comes_back_without_any_text_for_a_number(document: Struct) -> None:
    assert struct_of(attributes_of(document), large_as_text=False) == document


@given(documents(NAMES, ANYTHING))
def test_any_document_is_refused_or_keeps_its_meaning(document: Struct) -> None:
    try:
        stored = attributes_of(document)
    except Fault:
        return
    assume(not has_number_text(stored))
    read = struct_of(stored)
    assert attributes_of(read) == stored


def has_number_text(stored: Item) -> bool:
    """Whether AWS would have to look at a number; what it refuses is not read."""
    found: list[AttributeValue] = list(stored.attributes.values())
    while found:
        value = found.pop()
        if value.HasField("n"):
            try:
                Decimal(value.n)
            except ArithmeticError:
                return True
        found.extend(value.l.values)
        found.extend(value.m.entries.values())
    return False


@pytest.mark.parametrize(
    ("plain", "attribute"),
    [
        ("text", {"S": "text"}),
        (1.5, {"N": "1.5"}),
        (3.0, {"N": "3"}),
        (True, {"BOOL": True}),
        (None, {"NULL": True}),
        ([1.0, "a", []], {"L": [{"N": "1"}, {"S": "a"}, {"L": []}]}),
        ({"a": {"b": None}}, {"M": {"a": {"M": {"b": {"NULL": True}}}}}),
        ({}, {"M": {}}),
        ({"$N": "12345678901234567890"}, {"N": "12345678901234567890"}),
        ({"$B": "aGk="}, {"B": b"hi"}),
        ({"$SS": ["a", ""]}, {"SS": ["a", ""]}),
        ({"$NS": ["1", "2.5"]}, {"NS": ["1", "2.5"]}),
        ({"$BS": ["aGk=", ""]}, {"BS": [b"hi", b""]}),
        ({"$$ref": "#"}, {"M": {"$ref": {"S": "#"}}}),
        ({"$$SS": ["a"]}, {"M": {"$SS": {"L": [{"S": "a"}]}}}),
        ({"$$$": 1.0}, {"M": {"$$": {"N": "1"}}}),
    ],
)
def test_each_type_has_its_form_in_both_directions(plain: Any, attribute: dict[str, Any]) -> None:
    document, whole = struct({"a": plain}), item({"a": attribute})
    assert attributes_of(document) == whole
    assert struct_of(whole) == document


def test_number_as_text_and_as_number_means_the_same_in_a_form() -> None:
    assert attributes_of(struct({"n": {"$N": 5}, "s": {"$NS": [1, "2"]}})) == item(
        {
            "n": {"N": "5"},
            "s": {"NS": ["1", "2"]},
        }
    )


def test_names_of_attributes_are_escaped_as_all_others() -> None:
    assert attributes_of(struct({"$$id": "1"})) == item({"$id": {"S": "1"}})
    assert struct_of(item({"$id": {"S": "1"}})) == struct({"$$id": "1"})


@pytest.mark.parametrize(
    ("document", "path", "problem"),
    [
        ({"tags": [1, "a", {"price": 2.0**53}]}, "tags[2].price", "double"),
        ({"a": {"b": [float("nan")]}}, "a.b[0]", "neither NaN nor infinities"),
        ({"a": float("-inf")}, "a", "neither NaN nor infinities"),
        ({"a": {"$NS": [float("inf")]}}, "a.$NS[0]", "neither NaN nor infinities"),
        ({"a": {"$ref": "#"}}, "a.$ref", "$$ref"),
        ({"a": {"$ss": ["x"]}}, "a.$ss", "$SS"),
        ({"a": {"$SS": ["x"], "b": 1}}, "a.$SS", "alone"),
        ({"$SS": ["x"]}, "$SS", "$$SS"),
        ({"a": {"$SS": "x"}}, "a.$SS", "list"),
        ({"a": {"$SS": ["x", 1]}}, "a.$SS[1]", "text"),
        ({"a": {"$NS": ["1", True]}}, "a.$NS[1]", "number"),
        ({"a": {"$NS": [1e300]}}, "a.$NS[0]", "double"),
        ({"a": {"$N": None}}, "a.$N", "number"),
        ({"a": {"$B": "%%"}}, "a.$B", "base64"),
        ({"a": {"$B": "aGk"}}, "a.$B", "base64"),
        ({"a": {"$B": "é"}}, "a.$B", "base64"),
        ({"a": {"$BS": ["aGk=", 1]}}, "a.$BS[1]", "base64"),
    ],
)
def test_fault_names_its_path(document: dict[str, Any], path: str, problem: str) -> None:
    found, said = fault_of(document)
    assert found == path
    assert problem in said


def test_value_without_any_kind_is_a_fault() -> None:
    document = struct({"a": [1]})
    document.fields["a"].list_value.values.append(Value())
    assert fault_of(document) == ("a[1]", "has no value")


def test_number_that_a_double_does_not_hold_is_named_when_text_is_not_allowed() -> None:
    whole = item({"$a": {"M": {"b": {"L": [{"N": "1"}, {"N": "12345678901234567890"}]}}}})
    with pytest.raises(NotExact) as found:
        struct_of(whole, large_as_text=False)
    assert found.value.path == "$$a.b[1]"


def test_elements_of_a_set_of_numbers_are_text_and_never_too_large() -> None:
    whole = item({"a": {"NS": ["1", "12345678901234567890"]}})
    assert struct_of(whole, large_as_text=False) == struct({"a": {"$NS": ["1", "12345678901234567890"]}})


@pytest.mark.parametrize("unknown", [AttributeValue(), AttributeValue(n="many")])
def test_value_of_a_type_that_is_not_known_is_an_unreadable_answer(unknown: AttributeValue) -> None:
    with pytest.raises(UnreadableReply):
        struct_of(Item(attributes={"a": unknown}))
