"""The documents say what the code says, their links lead somewhere, and no machine's own paths are in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from prometheus_client import CollectorRegistry

from awsidecar.errors.v1 import errors_pb2
from awsidecar_server.api.status import AWS_CODES
from awsidecar_server.config import Setting, settings
from awsidecar_server.ops.telemetry import Telemetry
from awsidecar_server.workers.supervisor import WorkerMetrics
from awsidecar_server.workers.tally import Tally

ROOT = Path(__file__).parents[2]
# What stands in code is no link and no heading.
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Directories in which people and build machines work, at the start of a path.
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:builds|home|mnt|private|root|tmp|Users|work|workspace)/")


def documents() -> Iterator[Path]:
    """Every page that is written for readers."""
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from sorted((ROOT / "clients").glob("*/README.md"))
    yield from sorted((ROOT / "examples").rglob("*.md"))


def name_of(path: object) -> str:
    assert isinstance(path, Path)
    return str(path.relative_to(ROOT))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of all tables of a page, their headers left out."""
    lines = text.splitlines()
    found: list[list[str]] = []
    for above, line in zip(["", *lines], lines, strict=False):
        is_header = line.startswith("|") and not above.startswith("|")
        if line.startswith("|") and not is_header and not line.startswith("| ---"):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def words(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(path: Path) -> set[str]:
    """The headings of a page, as links name them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def row_of(leaf: Setting) -> list[str]:
    """A setting as the page shows it."""
    default = ",".join(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    cells = [f"`{leaf.env}`", f"`{leaf.name}`", "" if default in (None, "") else f"`{shown}`", leaf.help]
    return [*cells, f"`{leaf.example}`"]


def test_configuration_page_has_every_setting_with_its_key_default_and_meaning() -> None:
    assert rows(page("configuration.md").partition("## All settings")[2]) == [row_of(leaf) for leaf in settings()]


def test_configuration_page_has_the_sections_of_the_file() -> None:
    headings = re.findall(r"^### `\[(\w+)\]`$", page("configuration.md"), flags=re.MULTILINE)
    assert headings == list(dict.fromkeys(leaf.section for leaf in settings()))


def test_errors_page_has_every_reason_of_the_sidecar() -> None:
    table = page("errors.md").partition("## When the sidecar refuses")[2].partition("\n## ")[0]
    names = [value.name.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values]
    assert sorted(words(row[0])[0] for row in rows(table)) == sorted(names[1:])


def test_errors_page_maps_the_codes_of_aws_as_the_server_does() -> None:
    table = page("errors.md").partition("## When AWS refuses")[2].partition("\n## ")[0]
    assert {code: row[0] for row in rows(table) for code in words(row[1])} == {
        code: status.name for code, status in AWS_CODES.items()
    }


def test_metrics_page_has_every_metric() -> None:
    telemetry = Telemetry()
    telemetry.watch_expiry(list)
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in telemetry.registry.collect()
        if family.name.startswith("awsidecar_") and not family.name.endswith("_created")
    }
    table = page("metrics.md").partition("## Metrics")[2].partition("\n## ")[0]
    assert {words(row[0])[0]: row[1] for row in rows(table)} == families


def test_metrics_page_has_every_metric_of_the_supervisor() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry, lambda: 0)
    registry.register(Tally())
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in registry.collect()
    }
    table = page("metrics.md").partition("## With several workers")[2].partition("\n## ")[0]
    assert {words(row[0])[0]: row[1] for row in rows(table)} == families


@pytest.mark.parametrize("path", list(documents()), ids=name_of)
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (path.parent / file) if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    "path",
    [*documents(), *sorted((ROOT / "docs").glob("*.txt")), *sorted((ROOT / "docs").glob("*.svg"))],
    ids=name_of,
)
def test_documents_name_no_path_of_the_machine_they_were_written_on(path: Path) -> None:
    assert MACHINE_PATH.findall(path.read_text(encoding="utf-8")) == []
