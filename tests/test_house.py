"""The rules of docs/DESIGN.md that a machine can check: floors, doors, sizes, names."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import eofs

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUSE = Path(__file__).parent.parent
FLOORS = [  # lowest first, as in docs/DESIGN.md; a part is a module or a package of eofs
    "errors status log daemon inotify",
    "model nodes",
    (
        "catalog config options providers auth archive bare blocks buckets cache checksums credentials extents jobs "
        "layout maps"
    ),
    (
        "client complaints faults forms heads links logins orders parts ranges replies s3 signatures slots templates "
        "tokens transfer"
    ),
    "listings",
    "fetch",
    "folders tree",
    "control libfuse mount pending top",
    "cli api commands demo __init__ __main__",
]
DOORS = {  # the only parts that may use it
    "requests": "client faults logins ranges replies s3 transfer",
    "urllib3": "faults replies transfer",
    "botocore": "s3",
    "boto3": "",
    "keyring": "credentials",
    "netrc": "credentials",
    "fuse": "libfuse",
    "mfusepy": "libfuse",
    "zipfile": "archive demo.safe",
    "tarfile": "archive demo.safe",
    "yaml": "config options providers status",
    "shapely": "catalog",
    "diskcache": "cache",
    "os.environ": "config",
    "os.getenv": "config",
    "builtins.print": "cli commands demo",
    "tqdm": "commands.bars",
}
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts.split()}
PATHS = {
    ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((HOUSE / "eofs").rglob("*.py"))
}
MODULES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in PATHS.items()}


def part_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def uses(module: str) -> Iterator[str]:
    """All that a module names from elsewhere, dotted: what it imports, for types too, and `os.environ`, `print`."""
    for node in ast.walk(MODULES[module]):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=source, names=names):
                yield from (f"{source}.{alias.name}" for alias in names)
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute):
                yield f"os.{attribute}"
            case ast.Call(func=ast.Name(id="print")):
                yield "builtins.print"


def imported_modules(module: str) -> set[str]:
    """The modules of eofs that a module imports; `from eofs import __version__` is none of them."""
    found = (name if name in MODULES else name.rpartition(".")[0] for name in uses(module))
    return {name for name in found if name in MODULES} - {"eofs"}


def is_below(name: str, top: str) -> bool:
    return name == top or name.startswith(f"{top}.")


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_go_down_the_floors(module: str) -> None:
    assert part_of(module) in FLOOR_OF, f"give {part_of(module)} a floor here and in docs/DESIGN.md"
    floor = FLOOR_OF[part_of(module)]
    assert [name for name in imported_modules(module) if FLOOR_OF.get(part_of(name), 99) > floor] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter({module: imported_modules(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("dependency", DOORS)
def test_each_dependency_has_one_door(dependency: str) -> None:
    doors = [f"eofs.{part}" for part in DOORS[dependency].split()]
    users = [module for module in MODULES if any(is_below(name, dependency) for name in uses(module))]
    assert [user for user in users if not any(is_below(user, door) for door in doors)] == []


def test_the_demo_provider_is_made_of_the_standard_library() -> None:
    known = [*sys.stdlib_module_names, "eofs.demo", "eofs.errors", "eofs.model", "typing_extensions.Self"]
    used = [name for module in MODULES if is_below(module, "eofs.demo") for name in uses(module)]
    assert [name for name in used if not any(is_below(name, top) for top in known)] == []


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_small_enough_to_read(module: str) -> None:
    functions = [n for n in ast.walk(MODULES[module]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 >= 40] == []
    lines = PATHS[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 330


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_named_after_what_they_hold(module: str) -> None:
    assert not re.search(r"util|helper|manager", module)


def test_the_version_is_the_newest_one_in_the_changelog() -> None:
    changelog = HOUSE / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("not here: CHANGELOG.md")
    versions = re.findall(r"^## \[?v?(\d[^]\s]*)", changelog.read_text(encoding="utf-8"), re.MULTILINE)
    assert eofs.__version__ == versions[0]
