"""Settings that work but are hardly meant. In: the model and the arguments. Out: sentences for the log."""

from collections.abc import Iterator

from torch import nn

from ..config import REALConfig
from .dropout import functional_dropouts


def advice(model: nn.Module, args: REALConfig) -> Iterator[str]:
    """One sentence for each setting that a user should know of."""
    dropouts = [getattr(config, "lora_dropout", 0.0) for config in getattr(model, "peft_config", {}).values()]
    if args.disable_dropout and any(dropouts):
        yield (
            f"lora_dropout={max(dropouts)} is turned off, since `disable_dropout` is true by default in REAL: a score "
            "compares two forwards of the same rollout. Write lora_dropout=0.0, or disable_dropout=False."
        )
    modules = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    if modules or any(functional_dropouts(model)):
        yield "Dropout is on, so every score carries its noise. Write disable_dropout=True to turn it off."
    if args.gradient_accumulation_steps % (args.steps_per_generation * args.num_iterations) == 0:
        yield (
            "Every optimizer step uses fresh rollouts, so all scores are 0 and REAL weighs rollouts by the number of "
            "right and wrong ones alone. The paper takes 4 optimizer steps per generation: set "
            f"steps_per_generation={4 * args.gradient_accumulation_steps}."
        )
