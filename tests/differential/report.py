"""The figures of a run as text."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.run import Figures

_MOST_DIFFERENCES = 10


def lines_of(figures: Figures) -> Iterator[str]:
    """What was asked, what AWS made of it, and what differs."""
    answered = sum(cases for (_, outcome), cases in figures.cases.items() if outcome == "answered")
    yield f"{figures.total:>7,} requests: {answered:,} answered, {figures.total - answered:,} refused"
    yield f"{figures.pages:>7,} further pages, and pages of streams"
    yield f"{figures.elements:>7,} elements of batches that are streams"
    yield f"{figures.items_compared:>7,} items compared at the end of {figures.chunks:,} chunks"
    yield f"{figures.not_in_contract:>7,} more that the contract cannot say, left out"
    yield f"{len(figures.differences):>7,} differences"
    yield ""
    yield f"{'operation':<24} answered  refused"
    for operation in sorted({operation for operation, _ in figures.cases}):
        cases = (figures.cases[operation, outcome] for outcome in ("answered", "refused"))
        yield f"{operation:<24} " + "  ".join(f"{number:>7,}" for number in cases)
    yield ""
    for code, number in figures.codes.most_common():
        yield f"{number:>7,} {code}"
    yield ""
    for rule, number in figures.rules.items():
        yield f"{number:>7,} {rule}"
    for difference in figures.differences[:_MOST_DIFFERENCES]:
        yield f"\n{difference}"
