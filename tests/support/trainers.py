"""What the drop-in tests share: a small configuration, a saved tiny model, reward functions."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.support.tiny import QUIET, prompts_dataset, tiny_model, tiny_tokenizer
from trl_real import REALConfig, REALTrainer


GROUP = 4


def config(folder: Path, **options: Any) -> REALConfig:
    """Two prompts with four rollouts per optimizer step, two optimizer steps per generation, on the CPU."""
    defaults = QUIET | dict(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        num_generations=GROUP,
        max_completion_length=6,
        max_steps=2,
        learning_rate=1e-2,
    )
    return REALConfig(**defaults | options)


def even_start(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """1 for a completion that starts with an even token, which about half of them do."""
    return [float(ids[0] % 2 == 0) for ids in completion_ids]


def trainer(folder: Path, trainer_class: type[REALTrainer] = REALTrainer, **arguments: Any) -> REALTrainer:
    """A trainer on a tiny model; keyword arguments of the constructor replace the defaults."""
    defaults: dict[str, Any] = dict(reward_funcs=even_start, train_dataset=prompts_dataset(8))
    if not isinstance(arguments.get("model"), str):
        defaults |= dict(model=tiny_model(), processing_class=tiny_tokenizer())
    return trainer_class(**defaults | dict(args=config(folder)) | arguments)


def tiny_llama(model_class: type[PreTrainedModel] = LlamaForCausalLM, **options: Any) -> PreTrainedModel:
    """For what loads a tokenizer by name: `AutoTokenizer` would replace that of a Qwen2 folder by Qwen2's own kind."""
    torch.manual_seed(3)
    size = dict(vocab_size=63, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    size |= dict(initializer_range=0.3, pad_token_id=0, eos_token_id=1)
    return model_class(LlamaConfig(**size | options))


def save_tiny_model(folder: Path, model: PreTrainedModel | None = None) -> str:
    """The folder of a saved model with its tokenizer, as a name for `from_pretrained`."""
    (model or tiny_llama()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def weights(module: torch.nn.Module, trainable: bool = True) -> dict[str, torch.Tensor]:
    """A copy of the trainable, or of the frozen, parameters."""
    named = [(name, each) for name, each in module.named_parameters() if each.requires_grad == trainable]
    return {name: each.detach().clone() for name, each in named}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    assert before.keys() == after.keys()
    return any(not torch.equal(before[name], after[name]) for name in before)


def train_and_check(run: REALTrainer) -> None:
    """Training has moved the trainable weights."""
    before = weights(run.model)
    run.train()
    assert moved(before, weights(run.model))


def logged(trainer: REALTrainer, name: str) -> list[Any]:
    """Every value of a metric that was logged, in order."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]
