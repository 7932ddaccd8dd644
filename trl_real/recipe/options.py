"""The options of a recipe besides those of the trainer's configuration and of `trl.ModelConfig`."""

from dataclasses import dataclass

from trl import ScriptArguments

from ..data.loading import PROMPT_FORMATS
from ..options import check_values, document, one_of, option


@document
@dataclass
class RecipeArguments(ScriptArguments):
    """The options of a recipe besides those of the trainer's configuration and of [`~trl.ModelConfig`]."""

    dataset_name: str | None = option(None, "A file, a folder, a hub id, or reasoning_gym:TASK.")
    method: str = option("real", "'real', or 'grpo' for a baseline on TRL's own trainer.")
    reward_funcs: list[str] = option([], "Reward functions: names in trl_real.rewards, or dotted paths.")
    dataset_format: str | None = option(
        None,
        "'math' reads and cleans a mathematical data set. Default: rows are used as they are.",
        must=one_of("math", None),
    )
    max_prompt_tokens: int | None = option(None, "With dataset_format math: longer prompts are removed.")
    verify_answers: bool = option(True, "With dataset_format math: remove rows whose answer cannot be verified.")
    decontaminate: list[str] = option(
        [],
        "With dataset_format math: remove the problems of these benchmarks from the training set: aime24, aime25, "
        "math500, amc23, minerva, olympiad, files, or hub ids (name:split).",
    )
    test_size: float | None = option(
        None, "Hold out this number or share of the prompts, instead of using dataset_test_split."
    )
    eval_dataset_name: str | None = option(None, "Evaluate on this data set instead.")
    eval_dataset_split: str = option("test", "Split of eval_dataset_name.")
    eval_name: str | None = option(
        None,
        "Name of the evaluation set in the log: eval_<name>_reward, eval_<name>_avg@8. Default: none, eval_reward.",
    )
    split_seed: int = option(0, "Decides which prompts are held out, and which questions Reasoning Gym generates.")
    dataset_size: int | None = option(
        None, "Number of training rows. Default: all; for Reasoning Gym 1000, or endless if streamed."
    )
    prompt_format: str | None = option(
        None,
        "'chat' makes prompts messages, 'plain' texts. Default: unchanged; 'chat' for Reasoning Gym.",
        must=one_of(*PROMPT_FORMATS, None),
    )
    prompt_column: str | None = option(None, "The column of prompts, texts or messages. Default: prompt.")
    answer_column: str | None = option(
        None, "The column of accepted answers, which reward functions read as answer. Default: answer."
    )
    system_prompt: str | None = option(None, "A system message before each prompt.")
    prompts_per_generation: int | None = option(
        None,
        "Prompts sampled at once, over all processes. It and prompts_per_step determine gradient_accumulation_steps "
        "and steps_per_generation.",
    )
    prompts_per_step: int | None = option(None, "Prompts of each optimizer step, over all processes.")
    save_merged: bool = option(
        False, "With PEFT: also save the model with the adapter merged, in <output_dir>/merged."
    )
    plot: bool = option(False, "Draw <output_dir>/training.png at the end.")
    dry_run: bool = option(False, "Print the batch, the memory, the data and the result of every check, and exit.")
    world_size: int | None = option(
        None, "With dry_run: number of processes to plan for. Default: as many as were launched."
    )
    gpu_memory: float = option(80.0, "With dry_run: memory of each GPU in GB, such as 24, 80 or 141.")

    def __post_init__(self) -> None:
        for name in ("reward_funcs", "decontaminate"):  # in YAML, a single name needs no brackets
            if isinstance(value := getattr(self, name), str):
                setattr(self, name, [value])
        check_values(self)
        for name in ("prompt_column", "answer_column", "system_prompt"):
            if getattr(self, name) is not None and self.dataset_format == "math":
                raise ValueError(
                    f"{name}: dataset_format: math finds the columns itself and writes the paper's prompt; omit one "
                    "of the two."
                )
        if self.system_prompt is not None and self.prompt_format == "plain":
            raise ValueError("system_prompt: plain prompts have no system message; set prompt_format: chat.")
        if self.decontaminate and self.dataset_format != "math":
            raise ValueError("decontaminate: only mathematical data sets are compared; also set dataset_format: math.")
