"""
The recipes that come with the package, and the files that they name.

In: a name or a path. Out: a path that is there, or a `ValueError` with the nearest name. Left out: what is in a recipe
(`reading`). The standard library is enough here, so that a list of the recipes needs no torch.
"""

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
    """
    Finds a recipe.

    Args:
        name (`str`):
            A path, or the name of a recipe with or without `.yaml`.
        folder (`Path`):
            Folder of the recipes.
    """
    for path in (Path(name), folder / name, folder / f"{name}.yaml"):
        if path.is_file():
            return path
    known = [path.name for path in recipe_paths(folder)]
    raise ValueError(f"config: there is no file {name}, here or in {folder}.{nearest(name, known)} {listed(folder)}")


def listed(folder: Path) -> str:
    """A sentence with the names of all recipes."""
    return f"The recipes are {', '.join(path.stem for path in recipe_paths(folder))}, or any file of your own."


def find_shipped(value: str, root: Path) -> str:
    """
    A path as it is from here. One that begins with `recipes/` and is not here is looked up beside the recipes, so that
    a recipe can name its files wherever it is started.

    Args:
        value (`str`):
            A path, or anything else, such as a hub id, which is returned as it is.
        root (`Path`):
            Folder that holds the folder of the recipes.
    """
    shipped = root / value
    is_shipped = Path(value).parts[:1] == ("recipes",) and not Path(value).exists() and shipped.exists()
    return str(shipped) if is_shipped else value
