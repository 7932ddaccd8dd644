"""The methods that can be compared by name, and a recipe as each of them trains it."""

from dataclasses import fields
from typing import Any

from ..recipe.methods import METHODS as TRAINERS
from ..trainer.fields import INERT, REFUSED


Fields = dict[str, Any]

# `method` is the trainer: `real`, or `grpo` for TRL's own. Clip ranges of GRPO, DAPO and GSPO are those of the REAL
# paper; CISPO has the bound of ScaleRL (arXiv 2510.13786), SAPO and VESPO have TRL's defaults.
METHODS: dict[str, Fields] = {
    "recipe": {},  # as it is
    "real": dict(method="real", loss_type="real"),
    "real_no_anchor": dict(method="real", loss_type="real_no_anchor"),
    "bce": dict(method="real", loss_type="bce"),
    "grpo": dict(method="grpo", loss_type="grpo", epsilon=0.2),
    "dapo": dict(method="grpo", loss_type="dapo", epsilon=0.2, epsilon_high=0.28),
    "gspo": dict(
        method="grpo", loss_type="grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4
    ),
    "cispo": dict(method="grpo", loss_type="cispo", epsilon_high=5.0),
    "sapo": dict(method="grpo", loss_type="sapo", sapo_temperature_pos=1.0, sapo_temperature_neg=1.05),
    "vespo": dict(
        method="grpo",
        loss_type="vespo",
        **dict(vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0),
    ),
}
REAL_ONLY = {item.name for item in fields(TRAINERS["real"][1])} - {item.name for item in fields(TRAINERS["grpo"][1])}
FOREIGN = {
    "real": {*INERT, *REFUSED, "loss_type"},
    "grpo": REAL_ONLY | {name for method in METHODS.values() for name in method},
}
# What only a run that keeps its model needs, and what a comparison sets itself
KEEPING = ("save_merged", "plot", "push_to_hub", "load_best_model_at_end", "metric_for_best_model")
OMITTED = (
    *KEEPING,
    *("save_strategy", "logging_steps", "logging_strategy", "eval_on_start", "eval_name", "resume_from_checkpoint"),
    *("dry_run", "world_size", "gpu_memory", "learning_rate", "seed", "output_dir"),
)
FIXED: Fields = dict(save_strategy="no", logging_steps=1, eval_on_start=True)


def apply_method(recipe: Fields, method: Fields) -> tuple[Fields, list[str]]:
    """
    The fields of a recipe as a method trains it, and the recipe's fields that belong to another method's objective.
    The method's own fields prevail; with none the recipe is left as it is.
    """
    foreign = FOREIGN.get(method.get("method", ""), set()) - method.keys()
    omitted = [name for name in recipe if name in foreign]
    kept = {name: value for name, value in recipe.items() if name not in {*omitted, *OMITTED}}
    return kept | method, omitted
