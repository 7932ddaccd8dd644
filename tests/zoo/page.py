"""The tested models of docs/models.md, which the tests read; `python -m tests.zoo.page` trains all and writes it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftType

from tests.support.cuts import ROWS, parameters, trainer_for
from tests.trainer.test_exactness import TOLERANCE
from tests.zoo.adapters import LORA_VARIANTS, adapter
from tests.zoo.architectures import ARCHITECTURES, MULTIMODAL, VARIANTS, build
from trl_real import REALTrainer
from trl_real.step.obstacles import packing_obstacle as obstacle
from trl_real.validation.arguments import REFUSED_ADAPTERS as REFUSED


PAGE = Path(__file__).parents[2] / "docs" / "models.md"
NOT_RUN = {"ADAMSS": "not run: PEFT wants scikit-learn for it"}
ADAPTERS = [kind.value for kind in PeftType if kind.value not in NOT_RUN] + list(LORA_VARIANTS)
MODELS = [*ARCHITECTURES, *MULTIMODAL, *VARIANTS]
FLASH = "flash_attention_2"
# A window, or another limit, of which the longest rollout (18 tokens) has several
MODEL = dict(steps=2, max_steps=2, options=dict(max_completion_length=20))


@dataclass(frozen=True)
class Trial:
    forwards: str  # "packed", "padded: <reason>" or "refused: <reason>", as the documentation has it
    moved: float = 0.0  # largest change of a parameter in training,
    difference: float = 0.0  # and its largest difference between the two batchings


def forwards_of(trainer: REALTrainer) -> str:
    """`"packed"`, or `"padded: <reason>"`, as the trainer found out."""
    return "packed" if trainer._phase.choice.packs else f"padded: {trainer._phase.choice.why_padded}"


def tried(cut: dict[str, Any]) -> Trial:
    trained = []
    for batch in (ROWS, 4):
        trainer = trainer_for(cut | dict(batch=batch))
        start = parameters(trainer)
        trainer.train()
        trained.append(parameters(trainer))
    wide, narrow = trained
    return Trial(
        forwards=forwards_of(trainer),
        moved=max((wide[name] - start[name]).abs().max().item() for name in start),
        difference=max((wide[name] - narrow[name]).abs().max().item() for name in start),
    )


def try_model(name: str) -> Trial:
    return tried(MODEL | dict(build=lambda: build(name)))


def row(name: str, forwards: str) -> str:
    """What the page has of an architecture, which gave `forwards` with the attention that it takes by default."""
    model = build(name)
    default = model.config.get_text_config()._attn_implementation
    found = {"sdpa": "–", "eager": "–", FLASH: "–"} | {default: forwards}
    if default == "sdpa":
        found["eager"] = _first_step(name, "eager")
    if model._supports_flash_attn:
        model.config.get_text_config()._attn_implementation = FLASH
        found[FLASH] = f"padded: {reason}" if (reason := obstacle(model)) else "packed"
    reasons = {cell.partition(": ")[2]: attention for attention, cell in found.items() if ": " in cell}
    why = "; ".join(reasons) if len(reasons) < 2 else "; ".join(f"{at}: {reason}" for reason, at in reasons.items())
    return " | ".join([*(cell.partition(":")[0] for cell in found.values()), why]).rstrip()


def _first_step(name: str, attention: str) -> str:
    """How a model is run with an attention that it does not take by default; trained for a step only if packed."""
    reason = obstacle(build(name, attention))
    if reason:
        return f"padded: {reason}"
    trainer = trainer_for(MODEL | dict(batch=16, steps=1, max_steps=1, build=lambda: build(name, attention)))
    trainer.train()
    return forwards_of(trainer)


def try_adapter(name: str) -> Trial:
    if name in REFUSED:
        return Trial(f"refused: {REFUSED[name]}")
    return tried(dict(steps=2, max_steps=4, peft=adapter(name)))


def check(name: str, trial: Trial) -> None:
    assert trial.moved > 100 * TOLERANCE and trial.difference < TOLERANCE, (name, trial)


def documented(name: str) -> str:
    return re.search(rf"^\| `{re.escape(name)}` \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)[1].rstrip()


def rewrite() -> None:
    trials = {name: try_model(name) for name in MODELS}
    adapted = {name: try_adapter(name) for name in ADAPTERS}
    for name, trial in (trials | adapted).items():
        if name not in REFUSED:
            check(name, trial)
    models = {name: row(name, trial.forwards) for name, trial in trials.items()}
    adapters = {name: trial.forwards for name, trial in adapted.items()} | NOT_RUN
    text = PAGE.read_text("utf-8")
    for head, rows in {"| Architecture": models, "| Adapter": adapters}.items():
        table = "".join(f"| `{name}` | {forwards} |\n" for name, forwards in rows.items())
        text = re.sub(rf"(^{re.escape(head)} .*\n.*\n)(\| `.*\n)*", rf"\1{table}", text, flags=re.MULTILINE)
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    rewrite()
