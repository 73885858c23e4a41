"""Break every invariant once and see its test fail: `make mutate`, or `python -m tests.mutate 2` for one invariant.

A mutation is a replacement of one marked place (`# invariant N` in the source) in a copy of the tree. The named tests
must pass in the unbroken copy and fail in the broken one; a replacement that no longer applies is a failure, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 120


class Mutation(NamedTuple):
    """One way to break an invariant, and the test that must notice."""

    invariant: int
    breaks: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        1,
        "readers see what is no line yet",
        "otel_events/parts.py",
        '*lines, rest = (rest + chunk).split(b"\\n")  # invariant 1',
        'lines, rest = (rest + chunk).split(b"\\n"), b""  # invariant 1',
        "tests/test_follow.py::test_a_line_that_is_being_written_is_handed_out_when_it_is_whole",
    ),
    Mutation(
        2,
        "a forked child goes on in its parent's part",
        "otel_events/log.py",
        "        self._fd = -1  # invariant 2",
        "        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND) if self._fd >= 0 else -1  # invariant 2",
        "tests/faults/test_processes.py::test_a_forked_child_writes_a_part_of_its_own_in_the_scope_it_was_forked_in",
    ),
    Mutation(
        2,
        "a line is written in two halves",
        "otel_events/log.py",
        "            written = os.write(self._fd, line)  # invariant 2",
        "            written = os.write(self._fd, line[:40]) + os.write(self._fd, line[40:])  # invariant 2",
        "tests/test_log.py::test_an_event_is_one_write",
    ),
    Mutation(
        2,
        "the next line is glued to a torn one",
        "otel_events/log.py",
        "    os.ftruncate(fd, end)  # invariant 2",
        "    pass  # invariant 2",
        "tests/faults/test_kill.py::test_a_torn_line_is_cut_off_kept_and_counted",
    ),
    Mutation(
        3,
        "the mapping takes a scope's start from elsewhere",
        "otel_events/mapping.py",
        '_ns(event, "started_at") if event.started_at else end_ns  # invariant 3',
        "end_ns  # invariant 3",
        "tests/test_mapping.py::test_a_line_becomes_the_golden_span_and_log_record",
    ),
    Mutation(
        4,
        "a span id is drawn when it is shipped",
        "otel_events/mapping.py",
        "event.span_id, 8)  # invariant 4",
        "__import__('secrets').token_hex(8), 8)  # invariant 4",
        "tests/test_ship.py::test_shipping_the_same_run_again_sends_identical_requests",
    ),
    Mutation(
        5,
        "the cursor moves whatever the backend says",
        "otel_events/sender.py",
        '        if answer.kind == "accepted":\n            self._attempts = 0',
        '        if answer.kind != "refused":\n            self._attempts = 0',
        "tests/test_ship.py::test_a_backend_that_dies_between_request_and_answer_gets_the_same_bytes_again",
    ),
    Mutation(
        6,
        "what a backend rejects is not counted",
        "otel_events/sender.py",
        "            batch.after.rejected += answer.rejected  # invariant 6",
        "            pass  # invariant 6",
        "tests/test_ship.py::test_a_partial_success_is_a_yes_whose_rejections_are_counted",
    ),
    Mutation(
        6,
        "a lost event is not counted",
        "otel_events/log.py",
        "            self.lost += 1  # invariant 6",
        "            pass  # invariant 6",
        "tests/faults/test_disk.py::test_whatever_write_does_the_file_has_exactly_the_recorded_events",
    ),
    Mutation(
        6,
        "a loss is not told in the log",
        "otel_events/emitter.py",
        '        if lost and self._tell("log.lost"',
        '        if False and self._tell("log.lost"',
        "tests/faults/test_disk.py::test_whatever_write_does_the_file_has_exactly_the_recorded_events",
    ),
    Mutation(
        7,
        "values go into the line as they are",
        "otel_events/emitter.py",
        "        self.normalise = Normaliser(self._store_blob, redact)  # invariant 7",
        "        self.normalise = Normaliser(self._store_blob)  # invariant 7",
        "tests/test_recorder.py::test_redaction_reaches_every_string_that_the_program_said",
    ),
    Mutation(
        7,
        "what a hook fails on is written unredacted",
        "otel_events/values.py",
        "            redacted = None  # invariant 7",
        "            redacted = value  # invariant 7",
        "tests/test_values.py::test_a_redaction_hook_that_fails_blanks_the_value_and_is_counted",
    ),
    Mutation(
        8,
        "a full disk raises",
        "otel_events/log.py",
        "        except OSError as error:  # invariant 8",
        "        except KeyError as error:  # invariant 8",
        "tests/faults/test_disk.py::test_whatever_write_does_the_file_has_exactly_the_recorded_events",
    ),
    Mutation(
        8,
        "an odd value raises",
        "otel_events/values.py",
        "        except Exception:  # noqa: BLE001 - invariant 8",
        "        except KeyError:  # noqa: BLE001 - invariant 8",
        "tests/test_values.py::test_a_hostile_object_is_described_and_counted",
    ),
)


def main(only: str | None = None) -> int:
    """Run the mutations, all or those of one invariant; 1 if any is not caught."""
    chosen = [mutation for mutation in MUTATIONS if only in (None, str(mutation.invariant))]
    with tempfile.TemporaryDirectory(prefix="otel-events-mutate-") as temporary:
        tree = Path(temporary) / "tree"
        _copy(tree)
        if not _passes(tree, sorted({mutation.test for mutation in chosen})):
            print("the unbroken copy does not pass the named tests")
            return 1
        results = [(mutation, _tried(tree, mutation)) for mutation in chosen]
    width = max(len(mutation.breaks) for mutation, _ in results)
    print(f"\ninvariant  {'broken so that':{width}}  result      test")
    for mutation, result in results:
        print(f"{mutation.invariant:>9}  {mutation.breaks:{width}}  {result:10}  {mutation.test}")
    missing = sorted(set(range(1, 9)) - {mutation.invariant for mutation in MUTATIONS})
    if missing:
        print(f"no mutation for invariants {missing}")
    return int(bool(missing) or any(result != "caught" for _, result in results))


def _copy(tree: Path) -> None:
    for name in ("otel_events", "collector", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    shutil.copy(ROOT / "pyproject.toml", tree)


def _tried(tree: Path, mutation: Mutation) -> str:
    path = tree / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        return "NOT FOUND" if mutation.old not in source else "AMBIGUOUS"
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        return "NOT caught" if _passes(tree, [mutation.test]) else "caught"
    finally:
        path.write_text(source)


def _passes(tree: Path, tests: list[str]) -> bool:
    """Whether all the tests ran and passed. A test that is not there or skipped is an error of this table."""
    options = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "--timeout", "50"]
    environ = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(tests)} could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
