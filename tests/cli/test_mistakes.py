"""Mistakes of a first hour, and the first line that each of them gives: found at once, before a weight is read."""

import json
import re
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch
from transformers.integrations import get_available_reporting_integrations

from tests.support.scripts import python, write_recipe
from trl_real.cli import main
from trl_real.cli.problems import one_line_errors
from trl_real.cli.recipes import DEFAULT_MODEL


CHAT = [{"role": "user", "content": "w1"}]
FILES = {
    "broken.yaml": "tau: [0.5\nbeta: 0",
    "list.yaml": "- a\n- b",
    "misspelt.yaml": "learning_rte: 1",
    "mistyped.yaml": "learning_rate: fast",
    "empty.jsonl": "",
    "broken.jsonl": '{"prompt": "a"}\n{"prompt": ',
    "text.txt": "w1",
    "question.jsonl": '{"question": "w1"}\n' * 16,
    "null.jsonl": '{"prompt": "w1"}\n{"prompt": null}\n' * 16,
    "chat.jsonl": "\n".join(json.dumps({"prompt": [{"role": "user", "content": f"w{n}"}]}) for n in range(24)),
    "raises.py": "def reward(\n",
    "number.py": "reward = 3",
    "answers.jsonl": '{"question": "w1", "answer": "1"}\n' * 4,
}
# What is typed after `trl-real`, with R for the recipe of a tiny run: how the line after "error: " goes on
MISTAKES = {
    "train": "config: name a recipe, --config NAME_OR_PATH. The recipes are .*real_lora",
    "train --config": "config: --config needs a path, or a recipe's name",
    "train --config quikstart": "config: there is no file quikstart.* Did you mean `quickstart.yaml`",
    "train --config broken.yaml": "config: broken.yaml is not YAML: .* line 1, column 6",
    "train --config list.yaml": "config: list.yaml must contain lines of the form `field: value`",
    "train --config misspelt.yaml": "misspelt.yaml: there is no field `learning_rte`. Did you mean `learning_rate`",
    "train --config mistyped.yaml": "learning_rate: invalid float value: 'fast'",
    "train R --accelerate_config zero": "accelerate_config: .*Did you mean `zero3`",
    "train R --learning_rat 1": "There is no option `--learning_rat`. Did you mean `learning_rate`",
    "train R --num-generatons=4": "There is no option `--num_generatons`. Did you mean `num_generations`",
    "train R --num_gen 4": "There is no option `--num_gen`. Did you mean `num_generations`",
    "train R --learning_rate fast": "learning_rate: invalid float value: 'fast'",
    "train R --learning_rate": "learning_rate: expected one argument",
    "train R --max_steps 3 4": "`4` on the command line belongs to no option; write options as --field value",
    "train R --method gpro": "method: 'gpro' is not one of real, grpo. Did you mean `grpo`",
    "train R --dataset_format maths": "`dataset_format` must be one of 'math', None, got 'maths'",
    "train R --eval_strategy step": "eval_strategy: invalid choice: 'step' .choose from .*steps",
    "train R --world_size 2": "world_size: it is only for plans, with --dry_run",
    # the model
    "train R --model_name_or_path nowhere": "model_name_or_path: nowhere is no model folder .* Write a folder",
    f"train R --model_name_or_path {DEFAULT_MODEL}": "model_name_or_path: the .* && trl-real recipes model$",
    "train R --model_name_or_path empty": "model_name_or_path: empty cannot be read: .* Write the folder",
    "train R --attn_implementation flash": "attn_implementation: flash cannot be used .* Write sdpa or eager",
    "train R --use_peft --lora_target_modules query": "lora_target_modules: .*query.* Write all-linear, .*q_proj",
    "train R --save_merged": "save_merged: without use_peft there is no adapter to merge; omit it",
    "train R --resume_from_checkpoint empty": "resume_from_checkpoint: .* incomplete .trainer_state.json is missing",
    "train R --resume_from_checkpoint x": "resume_from_checkpoint: there is no folder x. Omit it to start from",
    # the data
    "train R --dataset_name nowhere.jsonl": "dataset_name: there is no file or folder nowhere.jsonl",
    "train R --dataset_name text.txt": "dataset_name: text.txt is not one of .parquet, .json, .jsonl, .csv",
    "train R --dataset_name empty.jsonl": "dataset_name: empty.jsonl is an empty file",
    "train R --dataset_name broken.jsonl": "dataset_name: cannot read broken.jsonl: JSON parse error",
    "train R --dataset_name question.jsonl": "dataset_name: .*no column `prompt`.* Write prompt_column: quest",
    "train R --dataset_name null.jsonl": "dataset_name: the prompt of row 1 .* is null; write a text",
    "train R --dataset_name chat.jsonl": "prompt_format: .* has no chat template. Write prompt_format: plain",
    "train R --dataset_train_split training": "dataset_train_split: there is no split 'training', only train",
    "train R --dataset_config main": "dataset_config: .*is local and has no configurations; omit it",
    "train R --prompt_column questoin": "prompt_column: .*no column `questoin`, only prompt",
    "train R --answer_column gold": "answer_column: .*no column `gold`, only prompt",
    "train R --system_prompt hello": "system_prompt: the prompts are texts.* set prompt_format: chat",
    "train R --dataset_size 0": "dataset_size: 0 is not a number of rows",
    "train R --test_size 100": "test_size: 100 of 24 different prompts .* write a smaller number of prompts",
    "train R --test_size 20": "train_dataset: it has 4 .* takes 8 .* Write steps_per_generation=1",
    "train R --dataset_streaming true": "test_size: a streamed data set cannot be split; use dataset_test_split",
    "train R --max_prompt_tokens 10": "max_prompt_tokens: only `dataset_format: math` reads it; omit it",
    "train R --decontaminate aime24": "decontaminate: only mathematical data sets .* set dataset_format: math",
    # the rewards
    "train R --reward_funcs acuracy_reward": "reward_funcs: .*Did you mean `accuracy_reward`",
    "train R --reward_funcs nowhere.reward": "reward_funcs: cannot import `nowhere.reward`.* Write module.function",
    "train R --reward_funcs raises.reward": "reward_funcs: cannot import .*SyntaxError: .*raises.py, line 1",
    "train R --reward_funcs number.reward": "reward_funcs: `number.reward` is a int, not a function",
    "train R --reward_funcs first_integer_reward": "reward_funcs: .*needs a column `answer`.* answer_column",
    "train R --reward_funcs accuracy_reward": "reward_funcs: accuracy_reward reads messages.* set prompt_format: chat",
    "train R --reward_funcs tests.support.scripts.first_word_is_even think_format_reward --prompt_format chat": (
        "`label_reward_func`: there are 2 reward functions .*the function that checks the answer"
    ),
    "train R --label_reward_func even": "`label_reward_func` must name one .*'first_word_is_even'., got 'even'",
    "train R --label_threshold high": "label_threshold: invalid float value: 'high'",
    "train R --reward_weights 1 2": "reward_weights: 2 weights for 1 reward functions .*; write one for each",
    # the objective and the batch
    "train R --tau 0": "`tau` must be a finite number above 0 .the paper uses 0.5., got 0.0",
    "train R --loss_type dapo": "loss_type: dapo is not a loss of REAL .* Omit it",
    "train R --method grpo --loss_type real": "loss_type: real is a loss of REAL; set method: real",
    "train R --degenerate_groups dropp": "`degenerate_groups` must be one of 'drop', 'keep', got 'dropp'",
    "train R --score_clip -1": "`score_clip` must be a finite number above 0, or None for no clip",
    "train R --epsilon 0.3": "epsilon: has no effect in REAL.* Omit it",
    "train R --top_entropy_quantile 0.2": "REAL does not support `top_entropy_quantile=0.2`.* Write top_ent",
    "train R --num_generations 1": "`num_generations` must be 2 or more, got 1: .*Write num_generations=8",
    "train R --num_generations 5": "`steps_per_gen.* of 32 .* Write .*per_device_eval_batch_size=35",
    "train R --per_device_train_batch_size 3": "`steps_per_gen.* of 6 .*=4. Write gradient_.*=4, steps_.*=8",
    "train R --per_device_train_batch_size 0": "`per_device_train_batch_size` must be 1 or more, got 0",
    "train R --gradient_accumulation_steps 2 --steps_per_generation 3": "`steps_per_generation` .3.*Write",
    "train R --prompts_per_step 4": "prompts_per_step: also set prompts_per_generation, or omit both",
    "train R --temperature 0": "`temperature` must be above 0, got 0.0.* Write temperature=1.0",
    "train R --eval_temperature -1": "`eval_temperature` must be a finite number of at least 0",
    "train R --metric_for_best_model avg@3": "`metric_for_best_model` is 'avg@3'.* Write one of eval_avg@4",
    # the machine
    "train R --deepspeed nowhere.json": "deepspeed: there is no file nowhere.json.* Write a path, or --deepspeed none",
    "train R --use_vllm true": "use_vllm: .* write --use_vllm false",
    "train R --report_to wanb": "report_to: there is no tracker wanb. Did you mean `wandb`. Write none",
    "train R --report_to dvclive comet_ml": "report_to: dvclive is not installed. Run `pip install dvcl",
    "train R --report_to comet_ml": "report_to: comet_ml is not installed. Run `pip install comet-ml`, or set",
    "train --config quickstart --accelerate_config": "accelerate_config: a name is missing. Write ddp, ",
    # the other commands
    "evaluate --models nowhere --benchmarks aime": "benchmarks: aime is none of aime24, .*Did you mean",
    "evaluate": "models: name at least one",
    "evaluate --config quikstart": "config: there is no file quikstart.* Did you mean `quickstart.yaml`",
    "evaluate --report --output nowhere": "output: there are no samples in nowhere",
    "evaluate --benchmarks answers.jsonl --models nowhere": "models: there is no folder nowhere .* Write a folder",
    "figures training nowhere": "nowhere: there is no such file or folder; write a run's output_dir",
    "figures gradients --output x.gif": "output: x.gif must end in one of .png, .pdf, .svg",
    "recipes show quikstart": "config: there is no file quikstart.* Did you mean `quickstart.yaml`",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose model has no weights: reading them would fail in another way. And files to go wrong with."""
    folder = tmp_path_factory.mktemp("mistakes")
    for program in ("train", "evaluate"):
        import_module(f"trl_real.cli.{program}")  # takes seconds, which the test does not count
    write_recipe(folder, weights=False)
    (folder / "empty").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_with_a_remedy(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if {*words.split()}.intersection(get_available_reporting_integrations()):
        pytest.skip("the tracker is installed here")
    if words.startswith("figures"):
        pytest.importorskip("matplotlib", reason="needs the extra `plots`")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    start = time.process_time()  # which other work on the machine does not change
    with pytest.raises(SystemExit) as end:
        main(words.replace(" R", " --config recipe.yaml").split())
    assert time.process_time() - start < 10  # it takes a tenth of a second
    assert isinstance(end.value.code, str) and "\n" not in end.value.code
    assert re.match(f"error: {MISTAKES[words]}", end.value.code)


def takes_all_memory(completions: list[str], **kwargs: object) -> list[float]:
    return torch.empty(2**50).tolist()


def reads_messages(completions: list, **kwargs: object) -> list[float]:
    return [float(len(completion[0]["content"])) for completion in completions]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("takes_all_memory", r"out of memory while training \(.*per_device_train_batch_size"),
        ("reads_messages", "reward_funcs: reads_messages failed .* set prompt_format: chat"),
    ],
)
def test_an_error_in_training_is_one_line_with_a_remedy(tmp_path: Path, reward: str, message: str) -> None:
    recipe = write_recipe(tmp_path, reward_funcs=f"{__name__}.{reward}", eval_on_start=False)
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        main(["train", "--config", str(recipe)])


def test_other_errors_of_a_run_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes"), one_line_errors("training"):
        raise RuntimeError("shapes do not fit")
    with pytest.raises(SystemExit, match="while loading the model"), one_line_errors("loading the model"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(("more", "status"), [([], 0), (["--dataset_name", "nowhere.jsonl"], 1)])
def test_errors_under_a_launcher_stay_one_line(tmp_path: Path, more: list[str], status: int) -> None:
    recipe = write_recipe(tmp_path, eval_strategy="no", eval_on_start=False, save_strategy="no")
    words = ["train", "--config", str(recipe), "--num_processes", "1", "--mixed_precision", "no", "--max_steps", "1"]
    run = python("-m", "trl_real", *words, *more, cwd=tmp_path)
    assert run.returncode == status, run.stderr[-4000:]
    if status == 0:
        assert (tmp_path / "out" / "model.safetensors").exists()
    else:
        assert "error: dataset_name: there is no file or folder nowhere.jsonl" in run.stderr
        assert "Traceback" not in run.stderr
