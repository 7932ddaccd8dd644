"""The recipes of the package and the files that they name. It needs no torch, so that listing them is fast."""

from pathlib import Path

from ..spelling import nearest


PACKAGE = Path(__file__).parents[1]


def recipes_folder() -> Path:
    """The folder of the recipes: inside of an installed package, beside the package in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def recipe_paths(folder: Path) -> list[Path]:
    """The recipes of a folder, by name."""
    return sorted(folder.glob("*.yaml"))


def find_recipe(name: str, folder: Path) -> Path:
    """The path of a recipe, from a path or the name of a recipe in `folder` with or without `.yaml`."""
    for path in (Path(name), folder / name, folder / f"{name}.yaml"):
        if path.is_file():
            return path
    known = [path.name for path in recipe_paths(folder)]
    raise ValueError(f"config: there is no file {name}, here or in {folder}.{nearest(name, known)} {listed(folder)}")


def listed(folder: Path) -> str:
    """A sentence with the names of all recipes."""
    return f"The recipes are {', '.join(path.stem for path in recipe_paths(folder))}, or any file."


def find_shipped(value: str, root: Path) -> str:
    """
    The path of a file that comes with the recipes, which may be started from any folder. A path that does not begin
    with `recipes/`, and an existing one, is returned unchanged. `root` is the folder that contains `recipes/`.
    """
    shipped = root / value
    is_shipped = Path(value).parts[:1] == ("recipes",) and not Path(value).exists() and shipped.exists()
    return str(shipped) if is_shipped else value
