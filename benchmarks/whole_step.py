r"""A whole training step, phase by phase, with real generation: GRPOTrainer and REALTrainer side by side in one run.

    python benchmarks/whole_step.py --longest 512 --vocabulary 200 --rollouts 80 --group 4 --batch 4
    python benchmarks/whole_step.py --engine vllm --longest 512 --vocabulary 200 --rollouts 80 --group 4 --batch 4

The trainers train the same model with random weights on the same prompts in the same order, one generation each in
turn, from the same seeds; the first round warms up. A completion ends where the model draws the end-of-sequence token
by chance: about one token in `vocabulary`, so lengths are geometric, cut at `longest`. Completions get a final answer
from outside: a share of the groups is all right, a share all wrong, and every other rollout of the rest is right.
`math_reward` judges them, in its processes. Seconds are means over the rounds, so that the phases add up; a step is a
generation with all of its optimizer steps, from its first micro-step on, without logging and saving.

`--engine vllm` has vLLM in the process of the trainer. On a CPU it runs in the environment of `make test-vllm`, with
what those tests set.
"""

import argparse
import itertools
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from datasets import Dataset
from fixed_rollouts import MIXES, Setting, about, build_model, build_tokenizer
from measure import Clock, now
from phases import PHASES, Phases
from records import Table
from trainers import GPU, TRAINERS, build_config, build_trainer, in_turn
from transformers import HfArgumentParser, set_seed
from trl import GRPOConfig

from trl_real.rewards.mathematics import math_reward


FACTORS = itertools.count(2)  # of fractions, so that no answer comes twice: the verifier would remember it
ENGINES = ("transformers", "continuous_batching", "vllm")


@dataclass(frozen=True)
class Program:
    """What to run besides the setting."""

    engine: str = about(f"What generates: one of {', '.join(ENGINES)}.", "transformers")
    mix: str = about(f"Shares of groups all right and all wrong: one of {', '.join(MIXES)}.", "early")
    steps: int = about("Optimizer steps per generation.", 4)
    output: str | None = about("File for the record, as in docs/results/performance/.", None)


def engine_fields(engine: str, setting: Setting) -> dict[str, Any]:
    """The fields of the configuration that choose the engine."""
    row = setting.prompt + setting.longest
    if engine == "vllm":
        return {"use_vllm": True, "vllm_max_model_length": row, "vllm_gpu_memory_utilization": 0.1}
    if engine == "continuous_batching":
        # Left alone, the cache takes half of the free memory, and on a CPU every step reads all of it
        pages = {"page_size": 32, "num_blocks": setting.rollouts * -(-row // 32), "max_batch_tokens": 512}
        return {"use_transformers_continuous_batching": True, "transformers_continuous_batching_config": pages}
    return {}


def dataset(mix: str, setting: Setting) -> Dataset:
    """One prompt for each group, of the kinds that the mix wants, and its accepted answer."""
    groups = setting.rollouts // setting.group
    right, wrong = (round(share * groups) for share in MIXES[mix])
    kinds = ["right"] * right + ["wrong"] * wrong + ["mixed"] * (groups - right - wrong)
    prompts = [" ".join(f"w{(7 * index + k) % 50}" for k in range(setting.prompt)) for index in range(groups)]
    answers = [rf"\frac{{{index + 1}}}{{97}}" for index in range(groups)]
    return Dataset.from_dict({"prompt": prompts, "kind": kinds, "answer": answers, "number": range(1, groups + 1)})


class Rewards:
    """Final answers by the kind of the prompt, judged; and what was seen: prompts, and the lengths of completions."""

    __name__ = "rewards"

    def __init__(self):
        self.prompts: list[list[str]] = []
        self.lengths: list[float] = []

    def __call__(
        self,
        prompts: list[str],
        completions: list[str],
        completion_ids: list[list[int]],
        kind: list[str],
        number: list[int],
        **columns: Any,
    ) -> list[float | None]:
        self.prompts.append(prompts)
        self.lengths.append(mean(map(len, completion_ids)))
        answered = []
        for row, text in enumerate(completions):
            right = kind[row] == "right" or (kind[row] == "mixed" and row % 2 == 0)
            factor = next(FACTORS)
            answered.append(rf"{text} \boxed{{\frac{{{factor * number[row] + (not right)}}}{{{factor * 97}}}}}")
        return math_reward(prompts, answered, **columns)


class Steps:
    """
    The steps of one trainer.

    Args:
        method (`str`):
            `"GRPO"` or `"REAL"`.
        config (`GRPOConfig`):
            Its configuration.
        program ([`Program`]), setting ([`Setting`]):
            What to run.
        folder (`str`):
            The saved model.
    """

    def __init__(self, method: str, config: GRPOConfig, program: Program, setting: Setting, folder: str):
        self.rewards = Rewards()
        prompts = dataset(program.mix, setting)
        self.trainer = build_trainer(method, config, folder, setting.vocabulary, prompts, reward_funcs=self.rewards)
        self.phases, self.clock = Phases(self.trainer, program.steps), Clock(program.steps, timer=now)
        self.trainer.add_callback(self.clock)

    def train(self) -> dict[str, float]:
        """Seconds of the phases of one generation, and of its step."""
        set_seed(len(self.clock.seconds))
        # Every call counts optimizer steps from 0, and TRL would take the weights that vLLM has for those of step 0
        self.trainer._last_loaded_step = -1
        self.trainer.train()
        return self.phases.seconds | {"step": self.clock.seconds[-1]}


def compare(program: Program, setting: Setting) -> tuple[dict[str, Steps], dict[str, dict[str, float]]]:
    """Both trainers in turn: their steps, and the mean seconds of every phase."""
    fields = {"max_completion_length": setting.longest, "max_steps": program.steps}
    fields |= engine_fields(program.engine, setting)
    # Both before the first trainer: its vLLM opens a process group, which the other would take for a distributed run
    configs = {method: build_config(method, setting, program.steps, fields) for method in TRAINERS}
    with tempfile.TemporaryDirectory() as folder:
        build_model(setting).save_pretrained(folder)
        build_tokenizer(setting.vocabulary).save_pretrained(folder)
        steps = {method: Steps(method, config, program, setting, folder) for method, config in configs.items()}
        rounds = in_turn({method: each.train for method, each in steps.items()}, setting.generations)
    seconds = {
        method: {phase: mean(each[phase] for each in measured) for phase in (*PHASES, "step")}
        for method, measured in rounds.items()
    }
    return steps, seconds


def run_with_vllm_on_cpu() -> None:
    """Starts this program anew with what the tests with vLLM set for a CPU."""
    sys.path.append(str(Path(__file__).parent.parent))
    from tests_vllm.launching import environment

    os.execve(sys.executable, [sys.executable, *sys.argv], environment())


def main() -> None:
    """Read the command line, run, print the table."""
    program, setting = HfArgumentParser(
        (Program, Setting), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args_into_dataclasses()
    if program.engine == "vllm" and not GPU and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        run_with_vllm_on_cpu()
    steps, seconds = compare(program, setting)
    table = Table(["phase", "GRPO s", "GRPO share", "REAL s", "REAL share"], program.output)
    described = asdict(program) | asdict(setting)
    for phase in (*PHASES, "step"):
        cells = [(f"{each[phase]:.2f}", f"{each[phase] / each['step']:.1%}") for each in seconds.values()]
        table.add([phase, *itertools.chain(*cells)], setting=described)
    grpo, real = (each["step"] for each in seconds.values())
    table.add(["REAL / GRPO", "", "", f"{real / grpo:.2f}", ""], setting=described)
    lengths = [f"{method} {mean(each.rewards.lengths[1:]):.0f}" for method, each in steps.items()]
    print(f"mean length of the completions: {', '.join(lengths)}")


if __name__ == "__main__":
    main()
