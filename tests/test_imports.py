"""Imports point one way: no module of the packages stands in a circle, however deep the import."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("zoo", "datamodules")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """Return the modules of the packages that a file imports, in functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in FILES and FILES[name].name != "__init__.py"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = {name: imported(path) - {name} for name, path in FILES.items()}

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            new = imports[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    assert [name for name in FILES if name in reached(name)] == []


def test_data_know_no_network_and_networks_know_no_command_line() -> None:
    for name, path in FILES.items():
        if name.startswith("datamodules"):
            assert not {m for m in imported(path) if m.startswith("zoo")}, name
        elif not name.startswith(("zoo.cli", "zoo.__main__")):
            assert not {m for m in imported(path) if m.startswith("zoo.cli")}, name
