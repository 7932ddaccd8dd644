"""
The program behind `trl-real train` and `recipes/train.py`.

It writes the model (an adapter with PEFT), checkpoints and `trainer_state.json` with everything that was logged into
`output_dir`; if the recipe asks for them, also `merged/` and `training.png`.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig
from transformers.trainer_callback import ProgressCallback
from trl import GRPOConfig, GRPOTrainer, ModelConfig, get_peft_config, get_quantization_config

from ..checkpoints.folders import check_complete
from ..data.loading import hub_or_cache, why_not
from ..recipe.dry_run import build_planned, dry_run
from ..recipe.inputs import Inputs, load_inputs
from ..recipe.launch import end_processes, missing, prepare_deepspeed, prepare_launch
from ..recipe.memory import read_config
from ..recipe.methods import METHODS
from ..recipe.options import RecipeArguments
from ..recipe.progress import ShortProgress, before_and_after
from ..recipe.reading import build_options, read_method, read_options
from ..recipe.shipped import recipes_folder
from ..validation.arguments import check_trackers, prompts_per_generation
from ..validation.config import ValidationConfig
from ..validation.whole_set import check_best_metric
from .problems import INSTALL, check_architecture, check_chat_template, one_line_errors, silence_deprecations
from .recipes import DEFAULT_MODEL


RECIPES = recipes_folder()


def check_options(recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig) -> None:
    """Raises `ValueError` for what would only fail during or after the training."""
    if model.model_name_or_path is None:
        raise ValueError("model_name_or_path: write a hub id or a folder.")
    if not recipe.reward_funcs:
        raise ValueError("reward_funcs: name at least one reward function.")
    if recipe.max_prompt_tokens and recipe.dataset_format != "math":
        raise ValueError("max_prompt_tokens: only `dataset_format: math` reads it; omit it.")
    if recipe.ignore_bias_buffers:
        raise ValueError("ignore_bias_buffers: omit it; it is for an error of models that REAL does not train.")
    if recipe.save_merged and not model.use_peft:
        raise ValueError("save_merged: without use_peft there is no adapter to merge; omit it.")
    if recipe.plot and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: needs matplotlib; run `pip install 'trl-real[plots]'` or omit it.")
    check_trackers(training.report_to or [])
    check_best_metric(training, [recipe.eval_name] if recipe.eval_name else [])


def check_model(training: GRPOConfig, model: ModelConfig, plan: bool = False) -> PretrainedConfig:
    """Reads the model's configuration, but no weights; for a plan, the paper's models are known without a hub."""
    name, read = str(model.model_name_or_path), read_config if plan else AutoConfig.from_pretrained
    try:
        with hub_or_cache():
            return read(name, revision=model.model_revision, trust_remote_code=training.trust_remote_code)
    except ValueError as error:
        raise ValueError(
            f"model_name_or_path: {name} cannot be read: {error} Write the folder or the hub id of a model."
        ) from error
    except OSError as error:
        if name == DEFAULT_MODEL:
            raise ValueError(
                f"model_name_or_path: the quickstart's model does not exist yet (searched {Path.cwd() / name}). "
                f"Write it once: {INSTALL} && trl-real recipes model"
            ) from error
        raise ValueError(
            f"model_name_or_path: {name} is no model folder (searched from {Path.cwd()}), and {why_not(error)}. Write "
            "a folder or a hub id."
        ) from error


def load_checked(recipe: RecipeArguments, training: ValidationConfig, model: ModelConfig) -> Inputs:
    """The data sets and reward functions, if they suit the model's chat template."""
    inputs = load_inputs(recipe, training, model)
    check_chat_template(next(iter(inputs.train))["prompt"], training, model)
    return inputs


def find_checkpoint(training: GRPOConfig) -> str | bool:
    """The complete checkpoint to resume from; `True`: the trainer finds it, once for all processes."""
    wanted = str(training.resume_from_checkpoint or "false")
    if wanted.lower() in ("false", "true"):
        return wanted.lower() == "true"
    check_complete(wanted, str(training.output_dir), training.save_only_model)
    return wanted


def build_trainer(
    trainer_class: type[GRPOTrainer], inputs: Inputs, recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig
) -> GRPOTrainer:
    """Loads the model; every name in the recipe has been checked before."""
    given: Any = training.model_init_kwargs or {}
    reward_funcs: list[Any] = [*inputs.reward_funcs]  # TRL's type lacks None for a missing reward
    own = {"revision": model.model_revision, "attn_implementation": model.attn_implementation, "dtype": model.dtype}
    training.model_init_kwargs = {**own, **given}
    trainer = trainer_class(
        model=str(model.model_name_or_path),
        args=training,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        reward_funcs=reward_funcs,
        train_dataset=inputs.train,
        eval_dataset={recipe.eval_name: inputs.test} if recipe.eval_name and inputs.test is not None else inputs.test,
    )
    if not training.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ShortProgress)
    return trainer


def finish(trainer: GRPOTrainer, recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig) -> None:
    """Evaluates the end unless that is done, saves the model and reports what the training did."""
    state, test_set, output = trainer.state, trainer.eval_dataset, Path(str(training.output_dir))
    if state.global_step == 0 and training.num_train_epochs > 0:
        raise SystemExit(
            "error: dataset_name: the stream ended before one generation was full, so no step was made: a generation "
            f"takes {prompts_per_generation(training)} prompts. Use a longer stream, or a smaller batch (--dry_run)."
        )
    reward = f"eval_{recipe.eval_name}_reward" if recipe.eval_name else "eval_reward"
    evaluated = [record["step"] for record in state.log_history if reward in record]
    if test_set is not None and state.global_step not in evaluated and not training.load_best_model_at_end:
        trainer.evaluate()
    trainer.save_model(str(output))
    trainer.save_state()
    dataset = str(recipe.dataset_name)
    trainer.create_model_card(output.name, None if Path(dataset).exists() or ":" in dataset else dataset)
    if trainer.is_world_process_zero():
        print(f"Saved the model in {training.output_dir}")
        if recipe.save_merged:
            merge_adapter(output, model.dtype)
        if recipe.plot and state.global_step:
            from ..figures import plot_training, read_run

            plot_training([read_run(output)], output / "training.png")
            print(f"Drew {training.output_dir}/training.png")
        rows = test_set[str(recipe.eval_name)] if isinstance(test_set, dict) else test_set
        if isinstance(rows, Dataset) and training.eval_on_start:
            samples = training.num_generations_eval or training.num_generations or 0
            print(before_and_after(state.log_history, reward, len(rows), samples))
        if state.best_model_checkpoint:
            saved = ", which was saved" if training.load_best_model_at_end else ""
            best = f"{training.metric_for_best_model} {state.best_metric:.3f}"
            print(f"Best checkpoint: {state.best_model_checkpoint} ({best}){saved}")
    if training.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset)
    end_processes(trainer.accelerator)


def merge_adapter(folder: Path, dtype: str | None) -> None:
    """Merges from disk, so that sharded and quantized training also end in a plain model."""
    from peft import AutoPeftModelForCausalLM

    AutoPeftModelForCausalLM.from_pretrained(folder, dtype=dtype).merge_and_unload().save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder / "merged")
    print(f"Saved the merged model in {folder / 'merged'}")


def plan(options: dict[str, Any], option_classes: list[type]) -> bool:
    """Prints the plan for `world_size` processes; returns whether all checks passed."""
    world_size = options["world_size"]
    recipe, training, model = build_planned(options, option_classes, world_size)
    checks = {
        "options": lambda: check_options(recipe, training, model),
        "model": lambda: check_model(training, model, plan=True),
        "data": lambda: load_checked(recipe, training, model),
    }
    return dry_run(f"Plan for {world_size} process(es), output in {training.output_dir}", options, checks)


def prepare(argv: list[str], processes: int | None = None) -> tuple[Any, ...]:
    """Runs whatever can fail before weights are read; ends the program after a dry run."""
    trainer_class, config_class = METHODS[read_method(argv, RECIPES)]
    classes = [RecipeArguments, config_class, ModelConfig]
    options, given = read_options(argv, classes, RECIPES)
    plans_for_others = options["world_size"] is not None
    if options["dry_run"]:
        options["world_size"] = options["world_size"] or processes
    options |= prepare_launch(options, given, RECIPES.parent)
    lacks = " ".join(missing(options))
    if options["dry_run"]:
        if lacks and not plans_for_others:
            print(f"This machine cannot run it. {lacks}\n")
        sys.exit(0 if plan(options, classes) else 1)
    if lacks:
        raise ValueError(lacks)
    prepare_deepspeed(options)
    recipe, training, model = build_options(options, classes)
    check_options(recipe, training, model)
    checkpoint = find_checkpoint(training)
    check_architecture(check_model(training, model), model)
    inputs = load_checked(recipe, training, model)
    return trainer_class, inputs, recipe, training, model, checkpoint


def main(argv: list[str], processes: int | None = None) -> None:
    """Runs the program; `processes` is what a dry run without `--world_size` assumes. Default: as many as launched."""
    silence_deprecations()
    try:
        *parts, checkpoint = prepare(argv, processes)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    _, inputs, recipe, training, model = parts
    if int(os.environ.get("RANK", 0)) == 0:
        print(*inputs.write_reports(Path(str(training.output_dir))), sep="\n")
    with one_line_errors("loading the model"):
        trainer = build_trainer(*parts)
    with one_line_errors("training"):
        trainer.train(resume_from_checkpoint=checkpoint)
        finish(trainer, recipe, training, model)


if __name__ == "__main__":
    main(sys.argv[1:])
