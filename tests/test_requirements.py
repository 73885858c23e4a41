"""The tables of requirements name every line, and every test that they name exists."""

from __future__ import annotations

import subprocess
import sys

import pytest
from requirements import TESTS, load, tables

COUNTS = {"simulation": ("SIM", 50, 20)}


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.stem)
def test_every_line_is_there_in_order_with_a_test_or_a_reason(table):
    prefix, requirements, faults = COUNTS[table.stem]
    lines = load(table)
    expected = [f"{prefix}-{number}" for number in range(1, requirements + 1)]
    assert [line.number for line in lines] == expected + [f"FAULT-{number}" for number in range(1, faults + 1)]
    assert [line.number for line in lines if not line.tests and not line.reason] == []
    assert len({line.says for line in lines}) == len(lines)


def test_every_test_that_a_table_names_exists():
    named = {test for table in tables() for line in load(table) for test in line.tests}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    listed = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, timeout=55)
    there = {node for line in listed.stdout.splitlines() for node in (line, line.partition("[")[0])}
    assert sorted(named - there) == []
