"""
`trl-real doctor`: what is installed, what works, and what each recipe would lack on this machine; with `--gpu`,
whether it computes packed rows and shared prompts of a model correctly.

In: nothing, or a model. Out: text, and exit code 1 if something that every run needs is broken, or a layout is not
computed correctly. Left out: mending it.
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


def is_installed(name: str) -> bool:
    """Whether a package is there, in whatever version."""
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def check_requirement(requirement: Requirement) -> tuple[str, bool]:
    """The line for a package, and whether it is there in a version that fits."""
    name, wanted = requirement.name, f"{requirement.name}{requirement.specifier}"
    if not is_installed(name):
        return f"{name} is not installed: pip install '{wanted}'", False
    version = metadata.version(name)
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{name} {version} does not fit: pip install '{wanted}'", False
    return f"{name} {version}", True


def requirements(project: str = PROJECT, extra: str = "") -> Iterator[Requirement]:
    """What a package requires, or what one of its extras adds, with the extras that this names in turn."""
    for requirement in map(Requirement, metadata.requires(project) or []):
        always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if always if not extra else not always and requirement.marker.evaluate({"extra": extra}):
            yield requirement
            for further in requirement.extras if is_installed(requirement.name) else ():
                yield from requirements(requirement.name, further)


def find_broken() -> list[str]:
    """What of TRL is not as this package expects, or why the trainer cannot be imported."""
    try:
        from ..contract import violations

        broken = violations()
        if not broken:
            from .. import trainer  # noqa: F401
    except Exception as error:  # whatever a broken installation raises is the answer
        return [f"{type(error).__name__}: {error}"]
    return broken


def accelerators() -> list[str]:
    """A line for each GPU with its memory in GiB, or one for what is there instead."""
    import torch

    if torch.cuda.is_available():
        devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return [f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in devices]
    count = torch.accelerator.device_count()
    return [f"{count} x {torch.accelerator.current_accelerator()}" if count else f"none; {os.cpu_count()} CPU cores"]


def recipe_lacks(path: Path) -> list[str]:
    """What a recipe asks for and this machine does not have, one sentence for each."""
    import torch
    from trl import ModelConfig

    from ..recipe.launch import missing, prepare_launch
    from ..recipe.methods import METHODS
    from ..recipe.options import RecipeArguments
    from ..recipe.reading import read_method, read_options

    folder, words = path.parent, ["--config", str(path)]
    environment = dict(os.environ)
    try:
        classes = [RecipeArguments, METHODS[read_method(words, folder)][1], ModelConfig]
        options, given = read_options(words, classes, folder)
        options |= {"world_size": max(1, torch.accelerator.device_count()), "dry_run": True}
        options |= prepare_launch(options, given, folder.parent)
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


def _say(title: str, lines: list[str]) -> None:
    print(title, *(f"  {line}" for line in lines), sep="\n", end="\n\n")


def _check_packages() -> bool:
    if not is_installed(PROJECT):
        _say("packages", [f"{PROJECT} is not installed, only its folder is found: pip install ."])
        return False
    checked = [check_requirement(each) for each in requirements()]
    extras = metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    lines = [f"Python {platform.python_version()}", f"{PROJECT} {metadata.version(PROJECT)}"]
    _say("packages", [*lines, *(line for line, _ in checked)])
    lines = []
    for extra in extras:
        lacking = dict.fromkeys(each.name for each in requirements(extra=extra) if not check_requirement(each)[1])
        advice = f"lacks {', '.join(lacking)}: pip install '{PROJECT}[{extra}]'"
        lines.append(f"{extra}: {advice if lacking else 'there'}")
    _say("extras", lines)
    return all(is_there for _, is_there in checked)


def _try_layouts(model: str | None, attention: str | None) -> None:
    from .layout_trial import load, try_layouts

    try:
        trial = try_layouts(load(model, attention))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    _say("device", ["cpu: there is no GPU, so this says nothing about one" if trial.device == "cpu" else trial.device])
    gaps = [
        f"{name}: {gap:.1e} nats from padded rows (rounding: {usual:.1e})" for name, (gap, usual) in trial.gaps.items()
    ]
    _say(f"layout of {model or 'a tiny random model'} in bfloat16", [trial.layout, *gaps])
    if not trial.confirmed:
        raise SystemExit("failed: a layout is computed incorrectly here; a training that finds it pads its rows.")


def parse(words: list[str]) -> argparse.Namespace:
    """The words of `trl-real doctor`."""
    description = "What is installed, what works, and what each recipe would lack here. Exit code 1: see `broken`."
    parser = argparse.ArgumentParser("trl-real doctor", description=description)
    gpu_help = "instead compare a model's packed rows and shared prompts with padded rows; exit code 1 if they differ"
    parser.add_argument("--gpu", action="store_true", help=gpu_help)
    parser.add_argument("--model_name_or_path", help="with --gpu: a folder or a hub id (default: a tiny random model)")
    parser.add_argument("--attn_implementation", help="with --gpu: its attention, such as flash_attention_2")
    asked = parser.parse_args(words)
    if (asked.model_name_or_path or asked.attn_implementation) and not asked.gpu:
        parser.error("only --gpu reads --model_name_or_path and --attn_implementation: write it, too.")
    return asked


def main(words: list[str]) -> None:
    """Runs `trl-real doctor`."""
    asked = parse(words)
    if asked.gpu:
        _try_layouts(asked.model_name_or_path, asked.attn_implementation)
        return
    are_there = _check_packages()
    broken = find_broken()
    _say("contract with TRL", broken or ["holds"])
    if broken:
        raise SystemExit("broken: no recipe can run; see above.")
    _say("accelerators", accelerators())
    alike: dict[str, list[str]] = {}
    for path in recipe_paths(recipes_folder()):
        alike.setdefault("\n    ".join(recipe_lacks(path)) or "nothing is lacking", []).append(path.stem)
    _say("recipes", [f"{', '.join(names)}:\n    {lacks}" for lacks, names in alike.items()])
    _say("further checks", FURTHER)
    if not are_there:
        raise SystemExit("broken: a package that every run needs is missing or does not fit; see above.")
