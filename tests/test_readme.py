"""What the README shows is what happens: its example, its output, its commands, its tests."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import otel_events
from collector.cli import app
from otel_events.testing import CountingIds, FakeClock
from tests import reference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def example(tmp_path, monkeypatch) -> Path:
    """The README's program, run with a clock and ids that count."""
    monkeypatch.chdir(tmp_path)
    counting = partial(otel_events.Recorder, clock=FakeClock(), ids=CountingIds())
    monkeypatch.setattr(otel_events, "Recorder", counting)
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    return tmp_path


def test_the_commands_print_what_the_readme_says(example):
    shown = blocks("console")
    assert shown
    for block in shown:
        command, _, expected = block.partition("\n")
        result = CliRunner().invoke(app, command.removeprefix("$ otel-events ").split())

        assert result.exit_code == 0, result.output
        assert [line.rstrip() for line in result.output.splitlines()] == expected.rstrip("\n").splitlines()


def test_the_example_writes_where_the_readme_says(example):
    assert [path.name for path in (example / "output").glob("economy-20261121-101500-*/*")] == ["events.jsonl"]


def test_every_command_that_the_readme_names_exists_and_every_one_that_exists_is_named():
    known = set(typer.main.get_command(app).commands)
    table = README[README.index("| command | |") : README.index("| route | |")]
    named = set(re.findall(r"`(?:otel-events )?([a-z]+)(?: [A-Z\[][^`]*)?`", table))

    assert known
    assert named >= known
    assert set(re.findall(r"otel-events ([a-z]+)", README)) <= known


def test_the_reference_page_says_what_the_code_does():
    """Every method, field, command, option, route, variable and error that exists is documented."""
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run: python -m tests.reference"


def test_the_json_schema_beside_the_code_is_the_codes():
    assert reference.SCHEMA.read_text(encoding="utf-8") == reference.schema_text(), "run: python -m tests.reference"


def test_the_readme_is_a_page_that_one_reads():
    assert len(README.splitlines()) < 300
    assert not re.search(r"@[A-Z]+@", README), "a place that was to be filled in"


@pytest.mark.sources
def test_every_test_that_the_readme_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", README)
    assert named
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


@pytest.mark.sources
def test_every_file_has_its_place_in_the_architecture():
    table = README[README.index("| `otel_events/` | |") : README.index("**On disk after a crash:**")]
    names = {path.stem for path in (ROOT / "otel_events").glob("*.py")} | {
        path.stem for path in (ROOT / "collector").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    missing = {name for name in names if not name.startswith(("_", ".")) and name not in re.findall(r"\w+", table)}

    assert missing == set()


def test_the_program_starts_without_the_extras():
    """The base install answers on the command line; what an extra brings is imported when it is needed."""
    extras = "{'fastapi', 'uvicorn', 'duckdb', 'numpy', 'mesa'}"
    code = f"import sys, collector.cli; print(sorted({extras} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout.strip() == "[]"
