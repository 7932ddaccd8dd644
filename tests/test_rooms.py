"""The structure of the package: which folder may import which, how large they are, and that each says what it is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trl_real"
# A folder may import itself and these; the order is from the ground up, so an arrow can only point up in this table
ALLOWED: dict[str, set[str]] = {
    "contract": set(),
    "version": set(),
    "compat": {"contract"},
    "objective": set(),
    "engines": set(),
    "options": set(),
    "spelling": set(),
    "verifier": set(),
    "metrics": set(),
    "rewards": {"spelling", "verifier"},
    "data": {"spelling", "verifier"},
    "step": {"compat", "objective", "engines", "metrics"},
    "checkpoints": {"compat"},
    "validation": {"checkpoints", "compat", "objective", "rewards", "engines", "options", "spelling", "version"},
    "trainer": {"compat", "objective", "engines", "options", "metrics", "step", "validation"},
    "figures": {"objective", "metrics"},
    "evaluation": {"objective", "options", "verifier", "rewards", "data"},
    "recipe": {"objective", "options", "spelling", "rewards", "data", "validation", "trainer", "evaluation"},
    "comparison": {"spelling", "data", "trainer", "recipe", "figures", "version"},
    "cli": {"recipe", "step", "version"}.union(
        "comparison contract compat spelling data rewards checkpoints validation trainer figures evaluation".split()
    ),
    "__main__": {"cli"},
}
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})
MODULES = sorted(path for top in ("trl_real", "recipes", "benchmarks") for path in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of what a module imports, anywhere in it."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from . import name` may name a module
            found |= {f"{module}.{alias.name}" for alias in node.names} if node.module is None else {module}
    return found


def room(name: str) -> str | None:
    """The folder of the package that a full module name lies in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "trl_real" and len(parts) > 1 else None


def test_the_table_is_in_order_and_complete() -> None:
    names = list(ALLOWED)
    assert all(names.index(used) < names.index(name) for name, uses in ALLOWED.items() for used in uses)
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} == set(names)


@pytest.mark.parametrize("name", ALLOWED)
def test_a_folder_imports_only_what_the_table_allows(name: str) -> None:
    files = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else (PACKAGE / name).rglob("*.py")
    used = {room(module) for path in files for module in imports(path)} - {name, None}
    assert used == ALLOWED[name]  # an arrow that is no longer needed leaves the table too


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_compat_imports_private_names_of_trl_and_transformers(path: Path) -> None:
    private = ("trl.", "transformers.integrations.", "transformers.models")
    found = {name for name in imports(path) if name.startswith(private)} - {"trl.rewards"}
    assert not found or path == PACKAGE / "compat.py"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_is_small_and_says_what_it_is(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 20
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 330


def test_the_objective_needs_torch_alone() -> None:
    block = "import sys; sys.modules.update(dict.fromkeys(('trl', 'transformers', 'accelerate', 'datasets', 'peft')))"
    use = "from trl_real import group_losses; import trl_real.objective as room; print(room.LOSS_TYPES)"
    run = subprocess.run([sys.executable, "-c", f"{block}; {use}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "real_no_anchor" in run.stdout
