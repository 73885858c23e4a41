"""One way through the house: a module imports only from layers before its own. The order is written here, once."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    "otel_events": (
        # what an event is and what becomes of it: no clock, no file, no state
        "errors timestamp ids naming event values codec schema failure filters genai mapping otlp config",
        # where it lies
        "parts lock log late queued",
        # writing it
        "stats handle causes context sampling emitter settings joining scope scope_lines recording",
        # bringing it to others
        "cursor follow delivery sender ship subscribe",
        # what programs call
        "recorder silent ready simulation testing",
    ),
    "collector": (
        "runs causality answers lookup queries doctor importers export",
        "api cli demo",
    ),
}
"""A module may import those to its left and above; `collector` all of `otel_events`, which never imports it."""

HEAVY = ("grpc", "requests", "google.protobuf", "pydantic", "opentelemetry.exporter", "collector", "fastapi", "duckdb")


def order(package: str) -> list[str]:
    return " ".join(LAYERS[package]).split()


def modules() -> Iterator[tuple[str, str, Path]]:
    """(package, module, file) of every module; a subpackage counts as one."""
    for package in LAYERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
            if module != "__init__":
                yield package, module, path


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """(package, module) of what a file imports from us, other than for type checkers."""
    tree = ast.parse(path.read_text())
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_checkers or id(node) in lazy:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package in LAYERS:
                yield package, rest.partition(".")[0]


def trespass(package: str, module: str, imported: str, known: list[str]) -> str | None:
    """`codec may not import recorder (layer 7 → 34)`, or None where it may."""
    if imported not in known or imported == module:
        return None
    own, other = known.index(module) + 1, known.index(imported) + 1
    return f"{package}: {module} may not import {imported} (layer {own} → {other})" if other > own else None


@pytest.mark.sources
def test_every_module_has_its_layer():
    for package in LAYERS:
        assert {module for name, module, _ in modules() if name == package} == set(order(package))


@pytest.mark.sources
def test_modules_import_only_from_layers_before_their_own():
    found = [
        said
        for package, module, path in modules()
        for source, imported in imports_of(path)
        if source == package and (said := trespass(package, module, imported, order(package)))
    ]
    assert found == []


def test_a_trespass_is_said_in_one_sentence():
    said = trespass("otel_events", "codec", "recorder", ["errors", "codec", "recorder"])
    assert said == "otel_events: codec may not import recorder (layer 2 → 3)"
    assert trespass("otel_events", "recorder", "codec", ["errors", "codec", "recorder"]) is None


@pytest.mark.sources
def test_otel_events_never_imports_the_reader():
    """Not even inside a function."""
    for package, _, path in modules():
        if package == "otel_events":
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [name for name in names if name.partition(".")[0] == "collector"], path


@pytest.mark.parametrize("code", ["import otel_events", "from otel_events import Recorder"])
def test_importing_the_package_loads_nothing_heavy(code):
    """Whoever only records pays for no network stack, no validation library and no reader."""
    shown = f"{code}\nimport sys\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY)] == []
