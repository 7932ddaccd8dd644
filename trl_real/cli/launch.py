"""
`trl-real train`: the program in this process, or in several that Accelerate starts.

Options of `accelerate launch` and of the program may be mixed. Other launchers can start the program (`train.py`) too:
`torchrun -m trl_real.cli.train`.
"""

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from subprocess import CalledProcessError

import torch
import yaml
from accelerate.commands.config import default_config_file
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from ..recipe.shipped import find_shipped, recipes_folder
from ..spelling import nearest
from .commands import load


# Options of `accelerate launch` that are also fields of a recipe: the recipe's are meant
BOTH = frozenset({"debug", "gradient_accumulation_steps"})
# The recipes' DeepSpeed would override the strategy of these
WITHOUT_DEEPSPEED = ("ddp", "fsdp2")
PROGRAM = f"{__package__}.train"


def train(words: list[str], program: str = PROGRAM) -> None:
    """Runs `trl-real train`, or another program of this folder."""
    launch_words, program_words = split_launch(words)
    launches = launch_words or torch.accelerator.device_count() > 1 or Path(default_config_file).is_file()
    try:
        if any(word.partition("=")[0] == "--dry_run" for word in words):  # which needs no second process
            _run_here(program, program_words, processes=count_processes(launch_words))
        elif "RANK" in os.environ or not launches:
            _run_here(program, program_words)
        else:
            _launch(launch_words, program_words, program)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def split_launch(words: list[str]) -> tuple[list[str], list[str]]:
    """The options of `accelerate launch` and `--accelerate_config`, and those of the program."""
    known = {option for action in launch_command_parser()._actions for option in action.option_strings}
    known = known - {f"--{name}" for name in BOTH} - {"-h", "--help"} | {"--accelerate_config"}
    launch_words: list[str] = []
    program_words: list[str] = []
    current = program_words
    for word in words:
        if word.startswith("-") and not word.lstrip("-")[:1].isdigit():
            current = launch_words if word.partition("=")[0] in known else program_words
        current.append(word)
    return launch_words, program_words


def _run_here(program: str, words: list[str], **planned: int) -> None:
    # As with `python -m`: a recipe may name reward functions of the current folder
    sys.path.insert(0, os.getcwd())
    load(program.rpartition(".")[2]).main(words, **planned)


def count_processes(launch_words: list[str]) -> int:
    """How many processes the launcher would start; a dry run starts none."""
    with parse_launch(launch_words) as arguments:
        config = yaml.safe_load(Path(arguments.config_file).read_text("utf-8")) if arguments.config_file else {}
    return int(arguments.num_processes or config.get("num_processes") or max(1, torch.accelerator.device_count()))


@contextmanager
def parse_launch(
    launch_words: list[str], program_words: Sequence[str] = (), program: str = PROGRAM
) -> Iterator[Namespace]:
    """The options of `accelerate launch`; `--accelerate_config NAME` becomes the `config_file`, a temporary one."""
    parser, folder = launch_command_parser(), recipes_folder()
    parser.add_argument("--accelerate_config", nargs="?", const="")
    arguments = parser.parse_args([*launch_words, "--module", program, *program_words])
    if arguments.training_script != program:
        raise ValueError(f"`{arguments.training_script}` on the command line belongs to no option.")
    if arguments.accelerate_config is None:
        yield arguments
        return
    path = _find_config(arguments.accelerate_config, folder / "accelerate")
    content = yaml.safe_load(path.read_text("utf-8"))
    deepspeed = content.get("deepspeed_config", {})
    if "deepspeed_config_file" in deepspeed:  # Accelerate reads it relative to the current folder
        deepspeed["deepspeed_config_file"] = find_shipped(deepspeed["deepspeed_config_file"], folder.parent)
    with tempfile.TemporaryDirectory() as temporary:
        resolved = Path(temporary) / path.name
        resolved.write_text(yaml.safe_dump(content), "utf-8")
        arguments.config_file = str(resolved)
        yield arguments


def _find_config(name: str, folder: Path) -> Path:
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    for path in (Path(name), folder / f"{name}.yaml", folder / name):
        if path.is_file():
            return path
    problem = f"there is no file {name}.{nearest(name, known)}" if name else "a name is missing."
    raise ValueError(
        f"accelerate_config: {problem} Write {', '.join(known)}, or the path of a file that `accelerate config` wrote."
    )


def _launch(launch_words: list[str], program_words: list[str], program: str) -> None:
    try:
        with parse_launch(launch_words, program_words, program) as arguments:
            given = any(word.partition("=")[0] == "--deepspeed" for word in program_words)
            if arguments.accelerate_config in WITHOUT_DEEPSPEED and not given:
                arguments.training_script_args += ["--deepspeed", "none"]
            launch_command(arguments)
    except CalledProcessError:  # the processes have reported what was wrong
        sys.exit(1)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            sys.exit(1)
        sys.exit(  # what a killed process could not report; the launcher has ended the others
            f"error: process {rank} was killed ({Signals(-failure.exitcode).name}; the system does so when memory "
            "runs out). To resume, start again with --resume_from_checkpoint true."
        )
