"""
Trains a language model with REAL on questions whose answers can be checked.

    python recipes/train.py --config quickstart.yaml
    accelerate launch recipes/train.py --config my_recipe.yaml --learning_rate 1e-6 --max_steps 100

`--config` takes a path or the bare name of a file in recipes/. Every field can be overridden on the command line. The
fields are those of `trl_real.recipe.RecipeArguments`, of `trl_real.REALConfig` and of `trl.ModelConfig`.

In: a recipe. Out, in `output_dir`: the model (an adapter with PEFT), checkpoints, `trainer_state.json` with everything
that was logged and, where the recipe asks for them, `merged/` and `training.png`.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import ModelConfig, get_peft_config, get_quantization_config

from trl_real import REALConfig, REALTrainer
from trl_real.data import load_prompts
from trl_real.progress import ShortProgress, before_and_after
from trl_real.recipe import RecipeArguments, parse_recipe
from trl_real.rewards import check_inputs, resolve_reward_func


TRAINER, CONFIG = REALTrainer, REALConfig


def check_options(recipe: RecipeArguments, training: CONFIG, model: ModelConfig) -> None:
    """Finds what would only fail after the training, or in its midst."""
    if model.model_name_or_path is None:
        raise ValueError("model_name_or_path: name a model, by its hub id or its folder.")
    if recipe.dataset_name is None:
        raise ValueError("dataset_name: name a data set: a file, a folder, a hub id, or reasoning_gym:<task>.")
    if not recipe.reward_funcs:
        raise ValueError("reward_funcs: name at least one reward function.")
    if recipe.ignore_bias_buffers:
        raise ValueError("ignore_bias_buffers: leave it out; it is for a fault of models that REAL does not train.")
    if recipe.save_merged and not model.use_peft:
        raise ValueError("save_merged: without use_peft there is no adapter to merge; leave it out.")
    if recipe.plot and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: needs matplotlib; run `pip install 'trl-real[plots]'` or leave it out.")


def check_model(training: CONFIG, model: ModelConfig) -> None:
    """Reads the model's configuration, but no weights."""
    name, revision, trusted = model.model_name_or_path, model.model_revision, training.trust_remote_code
    try:
        AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trusted)
    except OSError as error:
        raise ValueError(
            f"model_name_or_path: {name} is no model folder (looked from {Path.cwd()}), and the hub does not give it "
            f"({str(error).splitlines()[0]}). Write a folder or a hub id; recipes/smollm2.py writes the quickstart's."
        ) from error


def find_checkpoint(training: CONFIG) -> str | None:
    """The checkpoint to resume from: a folder, or with `true` the last one in `output_dir`."""
    wanted = str(training.resume_from_checkpoint or "false")
    if wanted.lower() == "false":
        return None
    if wanted.lower() != "true":
        if Path(wanted).is_dir():
            return wanted
        raise ValueError(f"resume_from_checkpoint: there is no folder {wanted}; write a checkpoint's, or true.")
    last = get_last_checkpoint(training.output_dir) if Path(training.output_dir).is_dir() else None
    if last is None:
        raise ValueError(f"resume_from_checkpoint: {training.output_dir} holds no checkpoint yet; leave it out.")
    return last


def load_inputs(recipe: RecipeArguments, training: CONFIG) -> dict[str, Any]:
    """The reward functions and data sets that the recipe names."""
    reward_funcs = {name: resolve_reward_func(name, training.max_completion_length) for name in recipe.reward_funcs}
    evaluates = training.eval_strategy != "no" or training.eval_on_start
    with training.main_process_first(desc="loading the data set"):
        train_set, test_set = load_prompts(
            recipe.dataset_name,
            config=recipe.dataset_config,
            train_split=recipe.dataset_train_split,
            test_split=recipe.dataset_test_split if evaluates else None,
            test_size=recipe.test_size,
            split_seed=recipe.split_seed,
            size=recipe.dataset_size,
            prompt_format=recipe.prompt_format,
            streaming=recipe.dataset_streaming,
        )
    for name, function in reward_funcs.items():
        for rows in filter(None, (train_set, test_set)):
            check_inputs(name, function, next(iter(rows)))
    return {"reward_funcs": list(reward_funcs.values()), "train_dataset": train_set, "eval_dataset": test_set}


def build_trainer(inputs: dict[str, Any], training: CONFIG, model: ModelConfig) -> TRAINER:
    """Loads the model; from here on nothing in the recipe can be misspelt."""
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    trainer = TRAINER(
        model=model.model_name_or_path,
        args=training,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        **inputs,
    )
    if not training.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ShortProgress)
    return trainer


def finish(trainer: TRAINER, recipe: RecipeArguments, model: ModelConfig) -> None:
    """Evaluates the end if nothing has yet, saves the model and shows what the training did."""
    training, log, test_set = trainer.args, trainer.state.log_history, trainer.eval_dataset
    evaluated = [record["step"] for record in log if "eval_reward" in record]
    if test_set is not None and trainer.state.global_step not in evaluated:
        trainer.evaluate()
    trainer.save_model(training.output_dir)
    trainer.save_state()
    if trainer.is_world_process_zero():
        print(f"Saved the model in {training.output_dir}")
        if recipe.save_merged:
            merge_adapter(Path(training.output_dir), model.dtype)
        if recipe.plot:
            from trl_real.figures import plot_training

            plot_training(training.output_dir, Path(training.output_dir) / "training.png")
            print(f"Drew {training.output_dir}/training.png")
        if isinstance(test_set, Dataset) and training.eval_on_start:
            print(before_and_after(log, len(test_set), trainer.num_generations_eval))
    if training.push_to_hub:
        trainer.push_to_hub(dataset_name=recipe.dataset_name)
    trainer.accelerator.end_training()


def merge_adapter(folder: Path, dtype: str) -> None:
    """Merges from disk, so that sharded and quantised training end in the same plain model."""
    from peft import AutoPeftModelForCausalLM

    AutoPeftModelForCausalLM.from_pretrained(folder, dtype=dtype).merge_and_unload().save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder / "merged")
    print(f"Saved the merged model in {folder / 'merged'}")


def main(argv: list[str]) -> None:
    try:
        recipe, training, model = parse_recipe(argv, [RecipeArguments, CONFIG, ModelConfig], Path(__file__).parent)
        check_options(recipe, training, model)
        checkpoint = find_checkpoint(training)
        inputs = load_inputs(recipe, training)
        check_model(training, model)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    trainer = build_trainer(inputs, training, model)
    trainer.train(resume_from_checkpoint=checkpoint)
    finish(trainer, recipe, model)


if __name__ == "__main__":
    main(sys.argv[1:])
