"""Which tests run on which backend, and in what the backends differ, is as `docs/testing.md` says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from tests.integration.backends import DIFFERENCES
from tests.integration.conftest import leave_out

_ROOT = Path(__file__).parents[2]
_HERE = Path(__file__).parent
_PAGE = _ROOT / "docs" / "testing.md"
_MARKS = ("ministack", "dynamodb_local")
# What a make that runs these tests tells the makes below it.
_OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTEST_ARGS", "LANE", "PYTHON"}
_COLLECT = """
import json, sys
import pytest

class Collector:
    def pytest_collection_finish(self, session):
        print("found:" + json.dumps([
            [str(item.path), item.originalname, [mark.name for mark in item.iter_markers()]] for item in session.items
        ]))

sys.exit(pytest.main(["--collect-only", "--quiet", "-p", "no:cacheprovider", sys.argv[1]], plugins=[Collector()]))
"""
# {suite: {test: the marks of the backends that it runs on}}
Suites = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def suites() -> Suites:
    """The tests as pytest collects them all, whatever this run has chosen; those of a directory are one suite."""
    command = [sys.executable, "-c", _COLLECT, str(_HERE)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: Suites = defaultdict(lambda: defaultdict(set))
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("found:"))
    for path, test, marks in json.loads(line.removeprefix("found:")):
        place = Path(path).relative_to(_HERE)
        suite = f"{place.parts[0]}/" if len(place.parts) > 1 else place.stem
        found[suite][test] |= set(marks) & set(_MARKS)
    return found


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page."""
    section = _PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def test_every_suite_runs_where_the_page_says(suites: Suites) -> None:
    stated = {suite.strip("`"): (ministack, local) for suite, ministack, local, _ in _rows("Which tests run where")}
    used = {suite: set().union(*tests.values()) for suite, tests in suites.items()}
    assert stated == {
        suite: tuple("yes" if mark in marks else "no" for mark in _MARKS) for suite, marks in used.items()
    }


def test_every_suite_that_is_not_on_both_backends_has_its_reason(suites: Suites) -> None:
    for suite, ministack, local, reason in _rows("Which tests run where"):
        assert (ministack, local) == ("yes", "yes") or reason, suite


def test_every_test_that_is_on_one_backend_in_a_suite_of_both_is_on_the_page_with_its_reason(
    suites: Suites,
) -> None:
    stated = {test.strip("`"): (backend, reason) for test, backend, reason in _rows("Tests of one backend")}
    alone = {
        test: "MiniStack" if marks == {"ministack"} else "DynamoDB Local"
        for tests in suites.values()
        if set().union(*tests.values()) == set(_MARKS)
        for test, marks in tests.items()
        if len(marks) == 1
    }
    assert {test: backend for test, (backend, _) in stated.items()} == alone
    assert all(reason for _, reason in stated.values())


def test_page_has_every_difference_of_the_backends_with_its_reason() -> None:
    names = {"ministack": "MiniStack", "dynamodb-local": "DynamoDB Local"}
    assert _rows("How the backends differ") == [
        [names[backend], what, how] for backend, stated in DIFFERENCES.items() for what, how in stated.items()
    ]


def test_check_runs_every_integration_test_on_both_lanes_and_ci_is_check_with_nothing_left_out() -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    planned = subprocess.run(
        ["make", "--dry-run", "check"], cwd=_ROOT, env=inherited, capture_output=True, text=True, check=True
    )
    runs = re.findall(r"AWSIDECAR_AWS_LANE=(\w+) \S+ -m pytest *(.*)", planned.stdout)
    assert [(lane, chosen.strip()) for lane, chosen in runs] == [("json", ""), ("sdk", "tests/integration")]
    ci = (_ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    (check,) = (number for number, line in enumerate(ci) if line.startswith("make check "))
    assert ci.index("export AWSIDECAR_REQUIRE_ALL=1") < check


@pytest.mark.parametrize(("setting", "outcome"), [("1", pytest.fail.Exception), ("0", pytest.skip.Exception)])
def test_backend_that_is_missing_fails_where_everything_is_required(
    setting: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWSIDECAR_REQUIRE_ALL", setting)
    with pytest.raises(outcome, match="java is not installed"):
        leave_out("java is not installed")


def test_every_difference_is_expected_by_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in _HERE.glob("test_*.py"))
    asked = set(re.findall(r'differs_in\("([^"]+)"\)', tests))
    assert asked == {what for stated in DIFFERENCES.values() for what in stated}
