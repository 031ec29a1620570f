"""Values of DynamoDB and of plain JSON, as hypothesis makes them."""

from __future__ import annotations

from base64 import b64encode
from decimal import Decimal
from typing import Any

from google.protobuf.struct_pb2 import Struct
from hypothesis import strategies as st

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item

# Names that the mapping must tell from its own.
NAMES = st.sampled_from(["$N", "$B", "$SS", "$NS", "$BS", "$", "$$", "$$N", "$ref", "a.b", "", "N"]) | st.text(
    max_size=3
)

# As AWS writes them: no zeros to spare. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_DIGITS = st.integers(-(10**38) + 1, 10**38 - 1)


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """The text of a number of up to 38 digits, as DynamoDB holds it."""
    few = st.integers(-999, 999)
    digits, exponent = draw(few | _DIGITS), draw(st.integers(-3, 3) | st.integers(-100, 80))
    return f"{Decimal(digits).scaleb(exponent).normalize():f}" if digits else "0"


# Those that stand for one number of DynamoDB's, which has no negative zero.
DOUBLES = st.floats(-(2.0**53), 2.0**53, exclude_min=True, exclude_max=True).map(lambda number: number + 0.0)

_LEAVES = st.one_of(
    st.text(max_size=5).map(lambda text: {"S": text}),
    numbers().map(lambda text: {"N": text}),
    st.binary(max_size=5).map(lambda raw: {"B": raw}),
    st.booleans().map(lambda truth: {"BOOL": truth}),
    st.just({"NULL": True}),
    st.lists(st.text(max_size=3), max_size=3).map(lambda texts: {"SS": texts}),
    st.lists(numbers(), max_size=3).map(lambda texts: {"NS": texts}),
    st.lists(st.binary(max_size=3), max_size=3).map(lambda raws: {"BS": raws}),
)
_ATTRIBUTES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: {"L": values})
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda entries: {"M": entries})
    ),
    max_leaves=12,
)


def attribute(value: dict[str, Any]) -> AttributeValue:
    """An attribute value from AWS's form of it."""
    made = AttributeValue()
    ((kind, held),) = value.items()
    if kind == "L":
        made.l.SetInParent()
        made.l.values.extend(map(attribute, held))
    elif kind == "M":
        made.m.SetInParent()
        for name, one in held.items():
            made.m.entries[name].CopyFrom(attribute(one))
    elif kind in {"SS", "NS", "BS"}:
        target = getattr(made, kind.lower())
        target.SetInParent()
        target.values.extend(held)
    else:
        setattr(made, kind.lower(), held)
    return made


def item(attributes: dict[str, Any]) -> Item:
    """An item from AWS's form of it."""
    return Item(attributes={name: attribute(value) for name, value in attributes.items()})


def items() -> st.SearchStrategy[Item]:
    return st.dictionaries(NAMES, _ATTRIBUTES, max_size=4).map(item)


def struct(members: dict[str, Any]) -> Struct:
    made = Struct()
    made.update(members)
    return made


def documents(names: st.SearchStrategy[str], leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Struct]:
    """Plain JSON with such names and leaves at every level."""
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12
    )
    return st.dictionaries(names, values, max_size=4).map(struct)


def base64(raw: bytes) -> str:
    return b64encode(raw).decode()
