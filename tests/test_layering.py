"""A room imports only from rooms below it: DESIGN section 2 as a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tamis

PACKAGE = Path(tamis.__file__).parent

# Roof to ground; names on one line may not import each other.
FLOORS = [
    {"cli", "server", "testing"},
    {"pruning"},
    {"training"},
    {"eval"},
    {"engine"},
    {"pipeline"},
    {"entities"},
    {"rerankers"},
    {"retrievers"},
    {"indexer"},
    {"encoders"},
    {"data"},
    {"kernels"},
    {"families"},
    {"stages"},
    {"ranking"},
    {"executor", "database"},
    {"files"},
    {"events"},
    {"errors"},
    {"_version"},
]
FLOOR_OF = {room: len(FLOORS) - number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """The room of a dotted module name: its second part."""
    return module.split(".")[1]


def imports_of(path: Path) -> list[str]:
    """Every tamis module that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("tamis.")]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import; write the whole name"
            if node.module == "tamis":
                found += [f"tamis.{alias.name}" for alias in node.names]
            elif node.module and node.module.startswith("tamis."):
                found.append(node.module)
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0].removesuffix(".py")
    assert here in FLOOR_OF, f"{here} has no floor in DESIGN section 2"
    for module in imports_of(path):
        there = room_of(module)
        assert there in FLOOR_OF, f"{relative} imports {module}, which is in no room"
        assert here == there or FLOOR_OF[here] > FLOOR_OF[there], f"{relative} imports {module}, which is not below it"


def test_the_rule_can_fail(tmp_path: Path) -> None:
    offender = tmp_path / "ranking.py"
    offender.write_text("def f():\n    from tamis.engine import Index\n    return Index\n", "utf-8")
    (module,) = imports_of(offender)
    assert FLOOR_OF["ranking"] < FLOOR_OF[room_of(module)]
