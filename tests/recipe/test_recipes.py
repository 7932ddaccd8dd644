"""The recipes: they parse against the installed TRL, twins differ in the method, comments name what exists."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from trl import GRPOConfig, ModelConfig

from tests.support.scripts import ROOT
from trl_real import REALConfig, REALTrainer
from trl_real.cli.launch import split_launch
from trl_real.recipe.dry_run import planned_config
from trl_real.recipe.launch import prepare_launch
from trl_real.recipe.methods import METHODS
from trl_real.recipe.options import RecipeArguments
from trl_real.recipe.reading import build_options, read_method, read_options
from trl_real.validation.trainer import ValidatingTrainer
from trl_real.validation.whole_set import deal_batches


RECIPES = ROOT / "recipes"
PATHS = sorted(RECIPES.glob("*.yaml"))
SMALL = ("quickstart", "graded")  # on a CPU; the others are the paper's
TWINS = ("bce", "real_no_anchor", "real_kl_ref", "real_kl_old", "grpo", "dapo", "gspo")
METHOD_KEYS = {*"method loss_type tau beta kl_target epsilon epsilon_high importance_sampling_level".split()}


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text())


def parse(name: str, *words: str, world_size: int = 8) -> tuple[type, RecipeArguments, GRPOConfig, ModelConfig]:
    """A recipe as the script reads it, checked as on so many processes."""
    argv = ["--config", name, "--dry_run", "--world_size", str(world_size), *words]
    trainer_class, config_class = METHODS[read_method(argv, RECIPES)]
    classes = [RecipeArguments, config_class, ModelConfig]
    options, given = read_options(argv, classes, RECIPES)
    options |= prepare_launch(options, given, ROOT)
    classes[1] = planned_config(config_class, world_size)
    return trainer_class, *build_options(options | dict(use_cpu=True, deepspeed=None), classes)


def method_of(name: str) -> type:
    return ValidatingTrainer if name.startswith(("grpo", "dapo", "gspo")) else REALTrainer


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_recipe_parses_and_chooses_its_trainer(path: Path) -> None:
    trainer_class, recipe, training, model = parse(path.name, world_size=1)
    assert trainer_class is method_of(path.stem)
    assert isinstance(training, REALConfig) is (trainer_class is REALTrainer)
    assert recipe.dataset_name and recipe.reward_funcs and model.model_name_or_path
    assert Path(training.output_dir) == Path("runs") / path.stem


@pytest.mark.parametrize("world_size", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("path", [path for path in PATHS if path.stem not in SMALL], ids=lambda path: path.stem)
def test_a_recipe_of_the_paper_is_the_same_experiment_on_any_number_of_gpus(path: Path, world_size: int) -> None:
    _, recipe, training, _ = parse(path.name, world_size=world_size)
    rollouts = training.per_device_train_batch_size * world_size
    assert rollouts * training.gradient_accumulation_steps == 32 * 8
    assert rollouts * training.steps_per_generation == 128 * 8 == training.generation_batch_size
    assert training.save_steps % 4 == training.eval_steps % 4 == training.max_steps % 4 == 0
    rows = sum(deal_batches(30, training.num_generations_eval, training.per_device_eval_batch_size, world_size), [])
    assert len(rows) == 30 * 8  # nothing is sampled to fill up a batch


@pytest.mark.parametrize("name", TWINS)
def test_twins_differ_only_in_the_fields_of_the_method(name: str) -> None:
    twin, base = content(f"{name}_1p5b"), content("real_1p5b")
    different = {key for key in {*twin, *base} if twin.get(key) != base.get(key)}
    assert different - {"output_dir"} <= METHOD_KEYS
    assert different & METHOD_KEYS


def test_a_variant_of_the_main_recipe_differs_in_what_its_name_says() -> None:
    base = content("real_1p5b")
    allowed = {
        "real_7b": {"model_name_or_path", "learning_rate", "max_steps"}
        | {"per_device_train_batch_size", "vllm_gpu_memory_utilization"},
        "real_1p5b_dapo17k": {"dataset_name", "dataset_config"},
        "real_lora": {"use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "save_merged"}
        | {"dtype", "learning_rate", "deepspeed", "vllm_gpu_memory_utilization"},
    }
    for name, keys in allowed.items():
        other = content(name)
        assert {key for key in {*other, *base} if other.get(key) != base.get(key)} == keys | {"output_dir"}


def test_the_values_are_those_of_the_paper() -> None:
    _, recipe, training, _ = parse("real_1p5b")
    assert (training.tau, training.beta, training.temperature, training.weight_decay) == (0.5, 0.0, 0.6, 0.01)
    assert (training.learning_rate, training.max_steps, training.max_completion_length) == (2e-6, 1400 * 4, 8192)
    assert (training.max_grad_norm, training.top_p, training.top_k, training.bf16) == (1.0, 1.0, 0, True)
    assert (training.lr_scheduler_type, training.warmup_steps, training.entropy_coef) == ("constant", 0, 0.0)
    _, _, training, _ = parse("real_7b")
    assert (training.learning_rate, training.max_steps) == (1e-6, 1000 * 4)
    assert parse("grpo_1p5b")[2].beta == 0.001
    assert parse("dapo_1p5b")[2].epsilon_high == 0.28
    gspo = parse("gspo_1p5b")[2]
    assert (gspo.epsilon, gspo.epsilon_high, gspo.importance_sampling_level) == (3e-4, 4e-4, "sequence")


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("grpo_1p5b", "--tau 0.5", "no option `--tau`"),
        ("grpo_1p5b", "--method real", "loss_type: grpo is not a loss of REAL"),
        ("real_1p5b", "--method grpo", "there is no field `tau`"),
        ("real_1p5b", "--gradient_accumulation_steps 4", "gradient_accumulation_steps: follows from"),
    ],
)
def test_a_field_that_the_method_or_the_batch_rules_out_is_refused(name: str, words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(name, *words.split())


@pytest.mark.parametrize("path", [*PATHS, *sorted(RECIPES.glob("accelerate/*.yaml"))], ids=lambda path: path.stem)
def test_comments_name_files_and_fields_that_exist(path: Path) -> None:
    comment = re.sub(r"\\\n# *", " ", path.read_text().partition("\n\n")[0])
    lines = re.findall(r"(?:recipes/train\.py|trl-real train) (--.*)", comment)
    assert lines
    for file in re.findall(r"--config_file (\S+)", comment):
        assert (ROOT / file).is_file()
    for line in lines:
        _, words = split_launch(shlex.split(line, comments=True))
        name = words[words.index("--config") + 1]
        if path.parent == RECIPES:
            assert name == path.name
        parse(name, *[word for word in words if word not in ("--config", name)])
    assert path.parent != RECIPES or any(word in comment for word in ("Hardware:", "Expected:"))


def test_the_documentation_lists_exactly_the_recipes() -> None:
    text = (ROOT / "docs/guides/recipes.md").read_text()
    listed = set(re.findall(r"^\| `(\w+\.yaml)`", text, flags=re.MULTILINE))
    assert listed == {path.name for path in PATHS}
