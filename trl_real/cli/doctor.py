"""
`trl-real doctor`: what is installed, what works, and what each recipe would lack on this machine; with `--gpu`, a
rehearsal of what a run does.

In: nothing. Out: text, and exit code 1 if something that every run needs is broken, or a check of the rehearsal
failed. Left out: mending it.
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
from ..rehearsal.machine import accelerators, is_installed
from .problems import INSTALL
from .recipes import DEFAULT_MODEL


PROJECT = "trl-real"


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
        lacking = [each.name for each in requirements(extra=extra) if not check_requirement(each)[1]]
        advice = f"lacks {', '.join(lacking)}: pip install '{PROJECT}[{extra}]'"
        lines.append(f"{extra}: {advice if lacking else 'there'}")
    _say("extras", lines)
    return all(is_there for _, is_there in checked)


def rehearse(output: Path, minutes: float) -> None:
    """Runs the rehearsal, a line for each check when it has ended, and writes all of it to a file."""
    from ..rehearsal.outcome import FAILED, Outcome
    from ..rehearsal.report import line, title, write_report
    from ..rehearsal.running import rehearse

    outcomes: dict[str, Outcome] = {}
    print(title(minutes))
    for check, outcome in rehearse(minutes):
        outcomes[check.name] = outcome
        print(line(check, outcome), flush=True)
        write_report(output, outcomes)
    print(f"\nWrote {output}, to attach to a report.")
    failed = [name for name, outcome in outcomes.items() if outcome.verdict == FAILED]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; {output} has the last lines of each.")


def main(words: list[str]) -> None:
    """Runs `trl-real doctor`."""
    description = "What is installed, what works, and what each recipe would lack here. Exit code 1: see `broken`."
    parser = argparse.ArgumentParser("trl-real doctor", description=description)
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="rehearse a run instead: GPUs, attention, vLLM, ZeRO-3, checkpoints, memory; "
        "exit code 1 if a check failed",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("rehearsal.json"), help="with --gpu: the file for what it found"
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="with --gpu: for all checks; on a busy machine take more"
    )
    asked = parser.parse_args(words)
    if asked.gpu:
        rehearse(asked.output, asked.minutes)
        return
    are_there = _check_packages()
    broken = find_broken()
    _say("contract with TRL", broken or ["holds"])
    if broken:
        raise SystemExit("broken: no recipe can run; see above.")
    _say("accelerators", list(accelerators()))
    alike: dict[str, list[str]] = {}
    for path in recipe_paths(recipes_folder()):
        alike.setdefault("\n    ".join(recipe_lacks(path)) or "nothing is lacking", []).append(path.stem)
    _say("recipes", [f"{', '.join(names)}:\n    {lacks}" for lacks, names in alike.items()])
    if not are_there:
        raise SystemExit("broken: a package that every run needs is missing or does not fit; see above.")
