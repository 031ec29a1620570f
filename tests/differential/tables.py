"""Tables that are made, changed and deleted: definitions, most of them good, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.differential.values import Values

Parameters = dict[str, Any]

# Of a few, so that requests meet tables that exist, and such that do not.
NAMES = ("scratch-1", "scratch_2", "scratch.3")
_BAD_NAMES = (
    "",
    "ab",
    "x" * 256,
    "with space",
    "größe",
    "a/b",
    "arn:aws:dynamodb:us-east-1:000000000000:table/scratch-1",
)
_ATTRIBUTES = {"id": "S", "rank": "N", "digest": "B", "kind": "S", "größe": "N", "with.dot": "S"}
_INDEXES = ("by-kind", "by_rank", "by.digest")
_WRONG_TYPES = ("", "BOOL", "s", "SS", "L", "X")
_BEYOND_LOCAL_INDEXES = 6


class TableRequests:
    """Makes requests about whole tables."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def seed(self) -> list[Parameters]:
        """What makes a table of each name at first."""
        return [{**self._definition(), "TableName": name} for name in NAMES]

    def create(self) -> Parameters:
        parameters = self._definition()
        faults = self._values.one_of([0, 0, 0, 0, 1, 1, 2])
        for _ in range(faults):
            self._values.one_of(_FAULTS)(parameters, self._values)
        return parameters

    def update(self) -> Parameters:
        one_of = self._values.one_of
        parameters: Parameters = {"TableName": self._name()}
        for change in self._values.rng.sample(self._changes(), one_of([1, 1, 1, 2])):
            parameters |= change()
        if self._values.chance(0.15):
            self._values.one_of(_FAULTS)(parameters, self._values)
        return parameters

    def named(self) -> Parameters:
        """What `DescribeTable`, `DeleteTable` and `DescribeTimeToLive` take."""
        return {"TableName": self._name()} if self._values.chance(0.98) else {}

    def time_to_live(self) -> Parameters:
        chance = self._values.chance
        name = self._values.one_of(["ttl", "ttl", "expires", "", "n" * 256] if chance(0.3) else ["ttl", "expires"])
        specification = {"Enabled": chance(0.7), "AttributeName": name}
        if chance(0.1):
            del specification[self._values.one_of(sorted(specification))]
        return {"TableName": self._name(), "TimeToLiveSpecification": specification}

    def listed(self) -> Parameters:
        one_of, chance = self._values.one_of, self._values.chance
        limit = {"Limit": one_of([1, 2, 3, 100, 0, -1, 101])} if chance(0.5) else {}
        start = {"ExclusiveStartTableName": one_of([*NAMES, "nowhere", "ab", ""])} if chance(0.4) else {}
        return {**limit, **start}

    # --- definitions -----------------------------------------------------------------------------------------------

    def _name(self) -> str:
        return self._values.one_of(NAMES if self._values.chance(0.93) else [*_BAD_NAMES, "nowhere"])

    def _definition(self) -> Parameters:
        one_of, chance = self._values.one_of, self._values.chance
        first, *others = self._values.rng.sample(sorted(_ATTRIBUTES), 4)
        key = [first, *(others[:1] if chance(0.6) else ())]
        parameters: Parameters = {"TableName": self._name(), "KeySchema": _key_schema(key)}
        used = set(key)
        if len(key) == 2 and chance(0.3):
            parameters["LocalSecondaryIndexes"] = [self._index("local", [first, others[1]])]
            used.add(others[1])
        is_provisioned = chance(0.4)
        if chance(0.4):
            index = [others[-1], *([first] if chance(0.3) else ())]
            parameters["GlobalSecondaryIndexes"] = [
                {**self._index(one_of(_INDEXES), index), **(self._capacity() if is_provisioned else {})}
            ]
            used |= set(index)
        parameters["AttributeDefinitions"] = _definitions(sorted(used))
        parameters |= self._capacity() if is_provisioned else {"BillingMode": "PAY_PER_REQUEST"}
        return {**parameters, **self._stream(0.2), **self._settings()}

    def _settings(self) -> Parameters:
        chance = self._values.chance
        members: Parameters = {}
        if chance(0.1):
            members["DeletionProtectionEnabled"] = chance(0.3)
        if chance(0.1):
            members["TableClass"] = self._values.one_of(["STANDARD", "STANDARD_INFREQUENT_ACCESS", "COLD"])
        if chance(0.1):
            members["Tags"] = [{"Key": "team", "Value": self._values.one_of(["", "blue", "v" * 257])}]
        if chance(0.05):
            members["SSESpecification"] = {"Enabled": chance(0.5)}
        return members

    def _index(self, name: str, key: list[str]) -> Parameters:
        projection: Parameters = {"ProjectionType": self._values.one_of(["ALL", "KEYS_ONLY", "INCLUDE"])}
        if projection["ProjectionType"] == "INCLUDE":
            projection["NonKeyAttributes"] = ["n", "text"]
        return {"IndexName": name, "KeySchema": _key_schema(key), "Projection": projection}

    def _capacity(self) -> Parameters:
        units = self._values.one_of([1, 5, 5, 10])
        return {"ProvisionedThroughput": {"ReadCapacityUnits": units, "WriteCapacityUnits": 5}}

    def _stream(self, probability: float) -> Parameters:
        if not self._values.chance(probability):
            return {}
        views = ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]
        if self._values.chance(0.1):
            return {"StreamSpecification": {"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"}}
        return {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": self._values.one_of(views)}}

    # --- changes ---------------------------------------------------------------------------------------------------

    def _changes(self) -> list[Callable[[], Parameters]]:
        return [
            self._capacity,
            self._billing,
            self._new_index,
            self._index_change,
            self._protection,
            self._new_stream,
        ]

    def _billing(self) -> Parameters:
        if self._values.chance(0.5):
            return {"BillingMode": "PAY_PER_REQUEST"}
        return {"BillingMode": "PROVISIONED", **(self._capacity() if self._values.chance(0.8) else {})}

    def _new_index(self) -> Parameters:
        name = self._values.one_of(sorted(_ATTRIBUTES))
        index = self._index(self._values.one_of(_INDEXES), [name])
        definitions = {"AttributeDefinitions": _definitions([name])} if self._values.chance(0.8) else {}
        more = self._capacity() if self._values.chance(0.5) else {}
        return {**definitions, "GlobalSecondaryIndexUpdates": [{"Create": {**index, **more}}]}

    def _index_change(self) -> Parameters:
        name = self._values.one_of([*_INDEXES, "nowhere", "ab", ""])
        if self._values.chance(0.5):
            return {"GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": name}}]}
        return {"GlobalSecondaryIndexUpdates": [{"Update": {"IndexName": name, **self._capacity()}}]}

    def _protection(self) -> Parameters:
        return {"DeletionProtectionEnabled": self._values.chance(0.3)}

    def _new_stream(self) -> Parameters:
        if self._values.chance(0.4):
            return {"StreamSpecification": {"StreamEnabled": False}}
        return self._stream(1)


def _key_schema(names: list[str]) -> list[Parameters]:
    return [{"AttributeName": name, "KeyType": role} for name, role in zip(names, ("HASH", "RANGE"), strict=False)]


def _definitions(names: list[str]) -> list[Parameters]:
    return [{"AttributeName": name, "AttributeType": _ATTRIBUTES[name]} for name in names]


# --- faults --------------------------------------------------------------------------------------------------------


def _key_schemas(parameters: Parameters) -> list[list[Parameters]]:
    """That of the table and those of its indexes, where there are any."""
    indexes = [*parameters.get("LocalSecondaryIndexes", ()), *parameters.get("GlobalSecondaryIndexes", ())]
    indexes += [
        update["Create"] for update in parameters.get("GlobalSecondaryIndexUpdates", ()) if "Create" in update
    ]
    return [holder["KeySchema"] for holder in (parameters, *indexes) if holder.get("KeySchema")]


def _bad_key_schema(parameters: Parameters, values: Values) -> None:
    schemas = _key_schemas(parameters)
    if not schemas:
        parameters["KeySchema"] = _key_schema(["id"])
        return
    schema = values.one_of(schemas)
    element = values.one_of(schema)
    ways: list[Callable[[], object]] = [
        schema.reverse,
        lambda: schema.append(dict(element)),
        lambda: schema.append({"AttributeName": "kind", "KeyType": "RANGE"}),
        lambda: element.update(KeyType=values.one_of(["", "RANGE", "HASH", "hash", "SORT"])),
        lambda: element.update(AttributeName=values.one_of(["", "undefined", "n" * 256, "id"])),
        lambda: element.pop(values.one_of(sorted(element))),
        schema.clear,
    ]
    values.one_of(ways)()


def _bad_definitions(parameters: Parameters, values: Values) -> None:
    definitions = parameters.setdefault("AttributeDefinitions", [])
    if not definitions:
        definitions.extend(_definitions(["kind"]))
        return
    one = values.one_of(definitions)
    ways: list[Callable[[], object]] = [
        lambda: definitions.append(dict(one)),
        lambda: definitions.append({**one, "AttributeType": values.one_of("SNB")}),
        lambda: definitions.append({"AttributeName": "unused", "AttributeType": "S"}),
        lambda: definitions.remove(one),
        definitions.clear,
        lambda: one.update(AttributeType=values.one_of(_WRONG_TYPES)),
        lambda: one.update(AttributeName=values.one_of(["", "n" * 256, "undefined"])),
        lambda: one.pop(values.one_of(sorted(one))),
    ]
    values.one_of(ways)()


def _bad_index(parameters: Parameters, values: Values) -> None:
    members = [name for name in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes") if parameters.get(name)]
    if not members:
        member = values.one_of(["LocalSecondaryIndexes", "GlobalSecondaryIndexes"])
        keys_only = {"ProjectionType": "KEYS_ONLY"}
        parameters[member] = [{"IndexName": "lost", "KeySchema": _key_schema(["lost"]), "Projection": keys_only}]
        return
    indexes = parameters[values.one_of(members)]
    index = indexes[0]
    ways: list[Callable[[], object]] = [
        lambda: indexes.append(dict(index)),
        lambda: indexes.extend({**index, "IndexName": f"more-{n}"} for n in range(_BEYOND_LOCAL_INDEXES)),
        lambda: index.update(IndexName=values.one_of(["", "ab", "x" * 256, "with space"])),
        lambda: index.update(Projection=values.one_of(_BAD_PROJECTIONS)),
        lambda: index.pop(values.one_of(sorted(index))),
    ]
    values.one_of(ways)()


_BAD_PROJECTIONS: tuple[Parameters, ...] = (
    {"ProjectionType": "SOME"},
    {"ProjectionType": "INCLUDE"},
    {"ProjectionType": "ALL", "NonKeyAttributes": ["n"]},
    {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n", "n"]},
    {"ProjectionType": "INCLUDE", "NonKeyAttributes": [f"n{n}" for n in range(21)]},
    {"ProjectionType": "INCLUDE", "NonKeyAttributes": [""]},
    {"NonKeyAttributes": ["n"]},
)


def _bad_capacity(parameters: Parameters, values: Values) -> None:
    units = values.one_of([0, -1, 1, 40_001, 2**62])
    ways: list[Parameters] = [
        {"ProvisionedThroughput": {"ReadCapacityUnits": units, "WriteCapacityUnits": 1}},
        # Without the mode, emulators do not look at it.
        {"ProvisionedThroughput": {"ReadCapacityUnits": 1}, "BillingMode": "PROVISIONED"},
        {"BillingMode": "PROVISIONED"},
        {"BillingMode": "FREE"},
        {"BillingMode": ""},
        {"OnDemandThroughput": {"MaxReadRequestUnits": units}},
    ]
    parameters.update(values.one_of(ways))


def _bad_stream(parameters: Parameters, values: Values) -> None:
    ways: list[Parameters] = [
        {"StreamEnabled": True},
        {"StreamEnabled": True, "StreamViewType": "ALL"},
        {"StreamViewType": "NEW_IMAGE"},
    ]
    parameters["StreamSpecification"] = values.one_of(ways)


def _bad_name(parameters: Parameters, values: Values) -> None:
    parameters["TableName"] = values.one_of(_BAD_NAMES)


def _drop_a_member(parameters: Parameters, values: Values) -> None:
    if parameters:
        del parameters[values.one_of(sorted(parameters))]


_FAULTS: tuple[Callable[[Parameters, Values], None], ...] = (
    _bad_key_schema,
    _bad_key_schema,
    _bad_definitions,
    _bad_definitions,
    _bad_index,
    _bad_index,
    _bad_capacity,
    _bad_stream,
    _bad_name,
    _drop_a_member,
)
