"""`make requirements`: run the tests that the tables name, once each, and print number, requirement, test, result.

Exit 1 if a test failed or is not there. One that was skipped, for want of data or of a program, is shown as such.
"""

from __future__ import annotations

import sys
import textwrap

import pytest

from tests.requirements import TESTS, Requirement, load, tables

WIDTH = 110


class Results:
    """A pytest plugin: what became of each test, the worst where it has parameters."""

    def __init__(self) -> None:
        self._ranks: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            for name in {report.nodeid, report.nodeid.partition("[")[0]}:
                self._ranks[name] = max(self._ranks.get(name, 0), _RANKS[report.outcome])

    def of(self, test: str) -> str:
        return _WORDS[self._ranks.get(test, 3)]


_RANKS = {"passed": 0, "skipped": 1, "failed": 2}
_WORDS = ["passed", "skipped", "FAILED", "MISSING"]


def main() -> int:
    requirements = [requirement for table in tables() for requirement in load(table)]
    named = sorted({test for requirement in requirements for test in requirement.tests})
    results = Results()
    pytest.main(["-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", *named], plugins=[results])
    print()
    for requirement in requirements:
        _print(requirement, results)
    outcomes = [results.of(test) for test in named]
    counts = ", ".join(f"{outcomes.count(word)} {word}" for word in _WORDS if word in outcomes)
    print(f"\n{len(requirements)} lines, {len(named)} tests: {counts}")
    return int(bool({"FAILED", "MISSING"} & set(outcomes)))


def _print(requirement: Requirement, results: Results) -> None:
    indent = " " * 10
    print(textwrap.fill(requirement.says, WIDTH, initial_indent=f"{requirement.number:10}", subsequent_indent=indent))
    for test in requirement.tests:
        print(f"{indent}{results.of(test):8} {test.removeprefix(f'{TESTS.name}/')}")
    if requirement.reason:
        print(f"{indent}{'reason':8} {requirement.reason}")


if __name__ == "__main__":
    sys.exit(main())
