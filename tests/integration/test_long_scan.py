"""What `python -m benchmarks.long_scan` shows with a million items, with 20,000 of them."""

from __future__ import annotations

import pytest

from benchmarks import many_items
from benchmarks.long_scan import Plan, killed_scan, slow_scan
from benchmarks.paths import Target

ITEMS = 20_000
# 40 MB in all, and 1 MB a page.
TEXT_BYTES = 2_000
PAGE_ITEMS = 500
# What some pages, connections and the imports of the first calls may cost.
MOST_MIB = 25


@pytest.fixture(scope="module")
def plan(dynamodb_local: str) -> Plan:
    many_items.fill(dynamodb_local, ITEMS, text_bytes=TEXT_BYTES)
    return Plan(Target(endpoint=dynamodb_local), ITEMS, segments=4, page_items=PAGE_ITEMS)


def test_slow_reader_gets_every_item_once_and_costs_no_memory(plan: Plan) -> None:
    scan = slow_scan(plan, pause=0.02, stop=2.0)
    assert (scan.items, scan.repeated, scan.missing) == (ITEMS, 0, 0)
    assert scan.pages >= ITEMS // PAGE_ITEMS
    assert scan.peak_rss - scan.idle_rss < MOST_MIB


def test_every_item_comes_once_although_the_sidecar_is_killed(plan: Plan) -> None:
    scan = killed_scan(plan)
    assert scan.killed_at is not None
    assert (scan.items, scan.repeated, scan.missing) == (ITEMS, 0, 0)
