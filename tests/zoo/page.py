"""The page of the documentation that says what was tried: read by the tests, written by `python -m tests.zoo.page`."""

import re
from pathlib import Path

from peft import PeftType

from tests.zoo.adapters import LORA_VARIANTS, adapter
from tests.zoo.architectures import ARCHITECTURES, VARIANTS, build
from tests.zoo.trial import MODEL, Trial, tried
from trl_real.trainer.checks.adapters import REFUSED


PAGE = Path(__file__).parents[2] / "docs" / "models.md"
NOT_RUN = {"ADAMSS": "not run: PEFT wants scikit-learn for it"}
ADAPTERS = [kind.value for kind in PeftType if kind.value not in NOT_RUN] + list(LORA_VARIANTS)
MODELS = [*ARCHITECTURES, *VARIANTS]


def try_model(name: str) -> Trial:
    return tried(MODEL | dict(build=lambda: build(name)))


def try_adapter(name: str) -> Trial:
    if name in REFUSED:
        return Trial(f"refused: {REFUSED[name]}")
    return tried(dict(steps=2, max_steps=4, peft=adapter(name)))


def documented(name: str) -> str:
    """What the page has of this model or adapter."""
    return re.search(rf"^\| `{re.escape(name)}` \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)[1]


def rewrite() -> None:
    """Write both tables anew."""
    models = {name: try_model(name).forwards for name in MODELS}
    adapters = {name: try_adapter(name).forwards for name in ADAPTERS} | NOT_RUN
    text = PAGE.read_text("utf-8")
    for head, rows in {"| Architecture": models, "| Adapter": adapters}.items():
        table = "".join(f"| `{name}` | {forwards} |\n" for name, forwards in rows.items())
        text = re.sub(rf"(^{re.escape(head)} .*\n.*\n)(\| `.*\n)*", rf"\1{table}", text, flags=re.MULTILINE)
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    rewrite()
