"""
What a recipe says beside the model and the training.

In: nothing. Out: the dataclass whose fields, with those of the trainer's configuration and of `trl.ModelConfig`, are
the options of `recipes/train.py`.
"""

from dataclasses import dataclass, field
from typing import Any

from trl import ScriptArguments


def _option(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class RecipeArguments(ScriptArguments):
    """
    What a recipe says beside the model and the training.

    Args:
        dataset_name (`str`):
            A file, a folder, a hub id, or `reasoning_gym:<task>`.
        method (`str`, *optional*, defaults to `"real"`):
            `"real"`, or `"grpo"` for a baseline on TRL's own trainer.
        reward_funcs (`list[str]`):
            Reward functions: names in `trl_real.rewards`, or dotted paths.
        dataset_format (`str`, *optional*):
            `"math"` reads and cleans a mathematical data set (`trl_real.data.mathematics`). Default: as it is.
        max_prompt_tokens (`int`, *optional*):
            With `dataset_format: math`: longer prompts are left out.
        verify_answers (`bool`, *optional*, defaults to `True`):
            With `dataset_format: math`: leave out rows whose answer the verifier cannot read.
        decontaminate (`list[str]`, *optional*, defaults to `[]`):
            With `dataset_format: math`: benchmarks (names of `trl_real.data.benchmarks.BENCHMARKS`, files, or hub ids)
            whose problems are left out of the training set.
        test_size (`float`, *optional*):
            Hold out so many prompts, or such a share of them, instead of using `dataset_test_split`.
        eval_dataset_name (`str`, *optional*):
            Evaluate on this data set instead.
        eval_dataset_split (`str`, *optional*, defaults to `"test"`):
            Split of it.
        eval_name (`str`, *optional*):
            Name under which the evaluation set is logged: `eval_<name>_reward`, `eval_<name>_avg@8`. Default: none,
            `eval_reward`.
        split_seed (`int`, *optional*, defaults to `0`):
            Decides which prompts are held out, and which questions Reasoning Gym generates.
        dataset_size (`int`, *optional*):
            Number of training rows. Default: all of them; Reasoning Gym generates 1000, or no end if streamed.
        prompt_format (`str`, *optional*):
            `"chat"` or `"plain"`. Default: as the data set has it.
        prompt_column (`str`, *optional*):
            The data set's column of prompts, texts or messages. Default: `prompt`.
        answer_column (`str`, *optional*):
            The data set's column of right answers, which reward functions read as `answer`. Default: `answer`.
        system_prompt (`str`, *optional*):
            A system message before each prompt.
        prompts_per_generation (`int`, *optional*):
            Prompts that are sampled at once, over all processes. `gradient_accumulation_steps` and
            `steps_per_generation` follow from it and from `prompts_per_step`.
        prompts_per_step (`int`, *optional*):
            Prompts of one optimizer step, over all processes.
        save_merged (`bool`, *optional*, defaults to `False`):
            With PEFT: also save the model with the adapter merged in, in `<output_dir>/merged`.
        plot (`bool`, *optional*, defaults to `False`):
            Draw `<output_dir>/training.png` at the end.
        dry_run (`bool`, *optional*, defaults to `False`):
            Print the batch, the memory, the data and the verdict of every check, and end.
        world_size (`int`, *optional*):
            With `dry_run`: plan for so many processes. Default: as many as were launched.
        gpu_memory (`float`, *optional*, defaults to `80.0`):
            With `dry_run`: memory of each GPU in GB, which the plan has to fit.
    """

    dataset_name: str | None = _option(None, "A file, a folder, a hub id, or reasoning_gym:TASK.")
    method: str = _option("real", "'real', or 'grpo' for a baseline on TRL's own trainer.")
    reward_funcs: list[str] = field(
        default_factory=list, metadata={"help": "Reward functions: names in trl_real.rewards, or dotted paths."}
    )
    dataset_format: str | None = _option(
        None, "'math' reads and cleans a mathematical data set. Default: as it is.", choices=["math"]
    )
    max_prompt_tokens: int | None = _option(None, "With dataset_format math: longer prompts are left out.")
    verify_answers: bool = _option(True, "With dataset_format math: leave out rows whose answer cannot be verified.")
    decontaminate: list[str] = field(
        default_factory=list,
        metadata={
            "help": "With dataset_format math: leave the problems of these benchmarks out of the training set: "
            "aime24, aime25, math500, amc23, minerva, olympiad, files, or hub ids (name:split)."
        },
    )
    test_size: float | None = _option(
        None, "Hold out so many prompts, or such a share of them, instead of using dataset_test_split."
    )
    eval_dataset_name: str | None = _option(None, "Evaluate on this data set instead.")
    eval_dataset_split: str = _option("test", "Split of eval_dataset_name.")
    eval_name: str | None = _option(None, "Name under which the evaluation set is logged: eval_<name>_avg@8.")
    split_seed: int = _option(0, "Decides which prompts are held out, and which questions Reasoning Gym generates.")
    dataset_size: int | None = _option(
        None, "Number of training rows. Default: all; Reasoning Gym generates 1000, or no end if streamed."
    )
    prompt_format: str | None = _option(
        None, "'chat' or 'plain'. Default: as the data set has it.", choices=["chat", "plain"]
    )
    prompt_column: str | None = _option(None, "The data set's column of prompts. Default: prompt.")
    answer_column: str | None = _option(
        None, "The data set's column of right answers, which reward functions read as answer."
    )
    system_prompt: str | None = _option(None, "A system message before each prompt.")
    prompts_per_generation: int | None = _option(None, "Prompts that are sampled at once, over all processes.")
    prompts_per_step: int | None = _option(None, "Prompts of one optimizer step, over all processes.")
    save_merged: bool = _option(
        False, "With PEFT: also save the model with the adapter merged in, in <output_dir>/merged."
    )
    plot: bool = _option(False, "Draw <output_dir>/training.png at the end.")
    dry_run: bool = _option(False, "Print the batch, the memory, the data and the verdict of every check, and end.")
    world_size: int | None = _option(None, "With dry_run: plan for so many processes.")
    gpu_memory: float = _option(80.0, "With dry_run: memory of each GPU in GB, such as 24, 80 or 141.")

    def __post_init__(self) -> None:
        if isinstance(self.reward_funcs, str):  # YAML lets one write a single name without brackets
            self.reward_funcs = [self.reward_funcs]
        if isinstance(self.decontaminate, str):
            self.decontaminate = [self.decontaminate]
        for name in ("prompt_column", "answer_column", "system_prompt"):
            if getattr(self, name) is not None and self.dataset_format == "math":
                raise ValueError(
                    f"{name}: dataset_format: math finds the columns itself and writes the paper's prompt; leave one "
                    "of the two out."
                )
        if self.system_prompt is not None and self.prompt_format == "plain":
            raise ValueError("system_prompt: plain prompts have no system message; set prompt_format: chat.")
        if self.decontaminate and self.dataset_format != "math":
            raise ValueError("decontaminate: only mathematical sets are compared; write dataset_format: math, too.")
