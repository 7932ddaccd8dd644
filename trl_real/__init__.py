"""
REAL ("Rewards as Labels", arXiv 2602.05630) for TRL: trains language models on verifiable rewards as a classifier.

A rollout's path through an optimizer step, in reading order:

    step/rollouts.py          rollouts: a generation batch as single rollouts; moving them between processes
    objective/labels.py       labels:   rewards -> correct (1), incorrect (0) or no label (NaN)
    step/plan.py              plan:     which rollout runs in which optimizer step, micro-step and process
    objective/losses.py       scores (Eq. 5) -> weights (Eq. 9) -> loss (Eq. 8, 2, 11): torch only
    step/loss.py              scores and weights of a micro-step; step/update.py assembles the step
    trainer/                  REALTrainer: TRL's GRPOTrainer with the above in place of its loss

The folders, from the ground up (each imports only those above it, see the table in `tests/test_rooms.py`):

    contract/                 what TRL and Transformers have to be, checked when they are first needed
    compat.py                 every private name of theirs that is imported
    objective/                the paper's mathematics
    engines/                  what TRL lacks for vLLM, DeepSpeed, DDP, FSDP and checkpointing
    options.py                help and checks of configuration fields
    spelling.py               suggestions for misspelt names
    verifier/                 correct or incorrect final answer, judged in processes that can be killed
    metrics/                  histograms and warnings from scores and labels
    rewards/                  reward functions
    data/                     prompts from anywhere; the paper's data sets, cleaned
    step/                     the update phase: from rewards to the loss of each micro-step
    checkpoints/              complete checkpoints, and the newest to resume from
    validation/               exact evaluation during training, for REAL and the baselines
    trainer/                  REALTrainer and REALConfig
    figures/                  logs -> pictures
    evaluation/               models -> answers (on Inspect AI) -> verdicts -> tables
    recipe/                   a YAML file -> options, batch, inputs, checks, plan of a run
    comparison/               methods, learning rates and seeds on one recipe -> records -> tables
    cli/                      the command `trl-real`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__


if TYPE_CHECKING:
    from .objective import group_losses, score_weights, sequence_scores
    from .trainer import REALConfig, REALTrainer


__all__ = ["REALConfig", "REALTrainer", "__version__", "group_losses", "score_weights", "sequence_scores"]

_FOLDERS = {"REALConfig": "trainer", "REALTrainer": "trainer"}


def __getattr__(name: str) -> Any:
    # Imported on first use: the objective needs torch alone, and the command line starts without it
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FOLDERS.get(name, 'objective')}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
