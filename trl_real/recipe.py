"""
How a recipe is found, read and checked: YAML plus command-line overrides, on TRL's parser.

In: the command line of a script and the dataclasses of its options. Out: one object per dataclass. Whatever is
misspelt is one `ValueError` that names it and the nearest field; nothing is guessed and nothing is ignored.
"""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from trl import ScriptArguments, TrlParser


@dataclass
class RecipeArguments(ScriptArguments):
    """
    What a recipe says beside the model and the training.

    Args:
        reward_funcs (`list[str]`):
            Reward functions: names in `trl_real.rewards`, or dotted paths.
        test_size (`float`, *optional*):
            Hold out so many prompts, or such a share of them, instead of using `dataset_test_split`.
        split_seed (`int`, *optional*, defaults to `0`):
            Decides which prompts are held out, and which questions Reasoning Gym generates.
        dataset_size (`int`, *optional*):
            Number of training rows. Default: all of them; Reasoning Gym generates 1000, or no end if streamed.
        prompt_format (`str`, *optional*):
            `"chat"` or `"plain"`. Default: as the data set has it.
        save_merged (`bool`, *optional*, defaults to `False`):
            With PEFT: also save the model with the adapter merged in, in `<output_dir>/merged`.
        plot (`bool`, *optional*, defaults to `False`):
            Draw `<output_dir>/training.png` at the end.
    """

    reward_funcs: list[str] = field(
        default_factory=list, metadata={"help": "Reward functions: names in trl_real.rewards, or dotted paths."}
    )
    test_size: float | None = field(
        default=None,
        metadata={"help": "Hold out so many prompts, or such a share of them, instead of using dataset_test_split."},
    )
    split_seed: int = field(
        default=0,
        metadata={"help": "Decides which prompts are held out, and which questions Reasoning Gym generates."},
    )
    dataset_size: int | None = field(
        default=None,
        metadata={
            "help": "Number of training rows. Default: all; Reasoning Gym generates 1000, or no end if streamed."
        },
    )
    prompt_format: str | None = field(
        default=None,
        metadata={"help": "'chat' or 'plain'. Default: as the data set has it.", "choices": ["chat", "plain"]},
    )
    save_merged: bool = field(
        default=False,
        metadata={"help": "With PEFT: also save the model with the adapter merged in, in <output_dir>/merged."},
    )
    plot: bool = field(default=False, metadata={"help": "Draw <output_dir>/training.png at the end."})

    def __post_init__(self) -> None:
        if isinstance(self.reward_funcs, str):  # YAML lets one write a single name without brackets
            self.reward_funcs = [self.reward_funcs]


def parse_recipe(argv: list[str], option_classes: list[type], recipes: Path) -> tuple[Any, ...]:
    """
    Parses `--config NAME --field value ...`; the command line overrides the YAML file.

    Args:
        argv (`list[str]`):
            The command line without the program's name.
        option_classes (`list[type]`):
            Dataclasses whose fields are the options.
        recipes (`Path`):
            Folder of the recipes that `--config` takes by their bare name.

    Returns:
        `tuple`: one object for each of `option_classes`.
    """
    # Abbreviations would let a typo pass as another option
    usage = "%(prog)s --config NAME_OR_PATH [--field value ...]"
    parser = TrlParser(option_classes, allow_abbrev=False, usage=usage)
    config, overrides = _split_config(argv)
    fields = [field.name for option_class in option_classes for field in dataclasses.fields(option_class)]
    if config is not None:
        config = _find_recipe(config, recipes)
        content = yaml.safe_load(config.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"config: {config} must hold lines of the form `field: value`.")
        for key in content:
            if key not in fields and key != "env":
                raise ValueError(f"{config}: there is no field `{key}`.{_nearest(key, fields)}")
    for word in parser.parse_known_args(overrides)[1]:
        if not word.startswith("--"):
            raise ValueError(f"`{word}` on the command line belongs to no option; options are written --field value.")
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        raise ValueError(f"There is no option `--{name}`.{_nearest(name, fields)}")
    return parser.parse_args_and_config(overrides if config is None else ["--config", str(config), *overrides])


def _split_config(argv: list[str]) -> tuple[str | None, list[str]]:
    """Takes `--config X` or `--config=X` out of the command line."""
    config, rest, words = None, [], iter(argv)
    for word in words:
        if word.partition("=")[0] != "--config":
            rest.append(word)
            continue
        config = word.partition("=")[2] or next(words, "")
        if not config or config.startswith("--"):
            raise ValueError("config: --config needs a path, or the name of a file in recipes/.")
    return config, rest


def _find_recipe(name: str, recipes: Path) -> Path:
    for path in (Path(name), recipes / name, recipes / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.name for path in recipes.glob("*.yaml"))
    raise ValueError(f"config: there is no file {name}, here or in {recipes}.{_nearest(name, known)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
