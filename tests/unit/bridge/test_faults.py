from __future__ import annotations

from awsidecar_server.bridge.faults import Fault


def test_path_is_made_from_the_inside_out_and_becomes_that_of_the_refusal() -> None:
    fault = Fault("is wrong").within("[2]").within(".tags").within(".Item")
    assert fault.path == "Item.tags[2]"
    refusal = fault.as_request_error()
    assert refusal.message == "Item.tags[2]: is wrong"
    assert refusal.metadata == {"field": "Item.tags[2]"}
    assert [(one.field, one.description) for one in refusal.violations] == [("Item.tags[2]", "is wrong")]
