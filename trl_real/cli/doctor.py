"""
`trl-real doctor`: what is installed, what works, and what each recipe needs on this machine; with `--gpu`, whether it
computes packed rows and shared prompts of a model correctly.
"""

import argparse
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from ..recipe.shipped import recipe_paths, recipes_folder
from .problems import INSTALL
from .recipes import DEFAULT_MODEL


PROJECT = "trl-real"
FURTHER = [
    "trl-real doctor --gpu --model_name_or_path MODEL: packed rows and shared prompts of your model, in bfloat16",
    "make test-gpu: what a training needs of GPUs, in a checkout of the repository",
]


def check_requirement(requirement: Requirement) -> tuple[str, bool]:
    """The line for a package, and whether a suitable version is installed."""
    name, wanted = requirement.name, f"{requirement.name}{requirement.specifier}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed: pip install '{wanted}'", False
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{name} {version} does not fit: pip install '{wanted}'", False
    return f"{name} {version}", True


def requirements(project: str = PROJECT, extra: str = "") -> Iterator[Requirement]:
    """What a package requires, or what one of its extras adds, including the extras of those packages."""
    for requirement in map(Requirement, metadata.requires(project) or []):
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        added = marker is not None and not always and marker.evaluate({"extra": extra})
        if added if extra else always:
            yield requirement
            installed = check_requirement(Requirement(requirement.name))[1]
            for further in requirement.extras if installed else ():
                yield from requirements(requirement.name, further)


def find_broken() -> list[str]:
    """The broken clauses of the contract with TRL, or why the trainer cannot be imported."""
    try:
        from ..contract import violations

        broken = violations()
        if not broken:
            from .. import trainer  # noqa: F401
    except Exception as error:  # whatever a broken installation raises is the answer
        return [f"{type(error).__name__}: {error}"]
    return broken


def accelerators() -> list[str]:
    """A line for each GPU with its memory in GiB, or one for another accelerator or the CPU."""
    import torch

    if torch.cuda.is_available():
        devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return [f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in devices]
    count = torch.accelerator.device_count()
    return [f"{count} x {torch.accelerator.current_accelerator()}" if count else f"none; {os.cpu_count()} CPU cores"]


def recipe_lacks(path: Path) -> list[str]:
    """What a recipe needs and this machine does not have, one sentence for each."""
    import torch

    from ..recipe.launch import missing, read_prepared

    environment = dict(os.environ)
    try:
        processes = max(1, torch.accelerator.device_count())
        options, _ = read_prepared(["--config", str(path)], path.parent, dry_run=True, world_size=processes)
        lacks = missing(options)
        if options["model_name_or_path"] == DEFAULT_MODEL and not Path(DEFAULT_MODEL).is_dir():
            lacks.append(f"model_name_or_path: {INSTALL} && trl-real recipes model")
        if options["plot"] and find_spec("matplotlib") is None:
            lacks.append("plot: needs matplotlib; run `pip install 'trl-real[plots]'`, or write --plot false.")
    except ValueError as error:
        return [str(error)]
    finally:  # a recipe may set variables
        os.environ.clear()
        os.environ.update(environment)
    return lacks


def _print(title: str, lines: list[str]) -> None:
    print(title, *(f"  {line}" for line in lines), sep="\n", end="\n\n")


def _check_packages() -> bool:
    if not check_requirement(Requirement(PROJECT))[1]:
        _print("packages", [f"{PROJECT} is not installed, only its folder is found: pip install ."])
        return False
    checked = [check_requirement(each) for each in requirements()]
    lines = [f"Python {platform.python_version()}", f"{PROJECT} {metadata.version(PROJECT)}"]
    _print("packages", [*lines, *(line for line, _ in checked)])
    lines = []
    for extra in metadata.metadata(PROJECT).get_all("Provides-Extra") or []:
        lacking = dict.fromkeys(each.name for each in requirements(extra=extra) if not check_requirement(each)[1])
        advice = f"lacks {', '.join(lacking)}: pip install '{PROJECT}[{extra}]'"
        lines.append(f"{extra}: {advice if lacking else 'installed'}")
    _print("extras", lines)
    return all(fits for _, fits in checked)


def _check_layouts(model: str | None, attention: str | None) -> None:
    from .layout_trial import load, try_layouts

    try:
        trial = try_layouts(load(model, attention))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    _print("device", ["cpu: there is no GPU, so this tests none" if trial.device == "cpu" else trial.device])
    gaps = [
        f"{name}: {gap:.1e} nats from padded rows (rounding: {usual:.1e})" for name, (gap, usual) in trial.gaps.items()
    ]
    _print(f"layout of {model or 'a tiny random model'} in bfloat16", [trial.layout, *gaps])
    if not trial.confirmed:
        raise SystemExit("failed: a layout is computed incorrectly here; a training detects this and pads its rows.")


def parse(words: list[str]) -> argparse.Namespace:
    description = "Checks the installation, and what each recipe needs on this machine. Exit code 1: see `broken`."
    parser = argparse.ArgumentParser("trl-real doctor", description=description)
    gpu_help = "instead compare a model's packed rows and shared prompts with padded rows; exit code 1 if they differ"
    parser.add_argument("--gpu", action="store_true", help=gpu_help)
    parser.add_argument("--model_name_or_path", help="with --gpu: a folder or a hub id (default: a tiny random model)")
    parser.add_argument("--attn_implementation", help="with --gpu: its attention, such as flash_attention_2")
    arguments = parser.parse_args(words)
    if (arguments.model_name_or_path or arguments.attn_implementation) and not arguments.gpu:
        parser.error("--model_name_or_path and --attn_implementation need --gpu; add it.")
    return arguments


def main(words: list[str]) -> None:
    arguments = parse(words)
    if arguments.gpu:
        _check_layouts(arguments.model_name_or_path, arguments.attn_implementation)
        return
    packages_fit = _check_packages()
    broken = find_broken()
    _print("contract with TRL", broken or ["holds"])
    if broken:
        raise SystemExit("broken: no recipe can run; see above.")
    _print("accelerators", accelerators())
    alike: dict[str, list[str]] = {}
    for path in recipe_paths(recipes_folder()):
        alike.setdefault("\n    ".join(recipe_lacks(path)) or "nothing is missing", []).append(path.stem)
    _print("recipes", [f"{', '.join(names)}:\n    {lacks}" for lacks, names in alike.items()])
    _print("further checks", FURTHER)
    if not packages_fit:
        raise SystemExit("broken: a package that every run needs is missing or does not fit; see above.")
