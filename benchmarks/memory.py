"""Peak memory of trainings on a CPU beside what `--dry_run` estimates: what the formulas are worth.

    python benchmarks/memory.py --output numbers.json                # 24 runs, one at a time, up to 2 GB each
    python benchmarks/memory.py --read numbers.json --output numbers.json    # the same runs, with today's estimates

Each run is a process of its own, in which every block of 64 kB or more goes back to the system when it is freed: two
optimizer steps of two micro-steps on fixed rollouts of full length. Taken is the peak of resident memory in the second
step, above what a run of a tiny model has left. Activations are what of it is neither there between the steps nor a
gradient. With a GPU, PyTorch's own peak is taken.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from fixed_rollouts import Rollouts, Setting
from measure import GIVE_BACK, in_use, peak, reset_peak
from peft import LoraConfig
from records import Table
from trainers import GPU, build_config, build_trainer
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from trl_real.recipe.memory import estimate_memory, model_size


GROUP = 4  # rollouts of a prompt


@dataclass(frozen=True)
class Size:
    """A model, and most tokens of a prompt and of a completion."""

    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    prompt: int
    completion: int

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=self.prompt + self.completion,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
            tie_word_embeddings=False,
        )


TINY = Size(64, 128, 2, heads=2, kv_heads=1, vocabulary=256, prompt=16, completion=16)
SIZES = {
    "5e6": Size(256, 768, 6, heads=4, kv_heads=2, vocabulary=1024, prompt=32, completion=160),
    "18e6": Size(384, 1536, 8, heads=6, kv_heads=2, vocabulary=2048, prompt=32, completion=224),
    "51e6": Size(512, 2048, 12, heads=8, kv_heads=4, vocabulary=4096, prompt=64, completion=256),
}
COLUMNS = ["parameters", "trained", "rollouts", "checkpointing", "precision"]
COLUMNS += ["lasting MB", "activations MB", "peak MB", "estimated: lasting", "activations", "peak", "ratio"]


@dataclass(frozen=True)
class MemoryCase:
    """What is trained, and how: `rollouts` in a micro-step, `lora_rank` of an adapter on all linear layers."""

    size: Size
    rollouts: int
    packed: bool = True
    checkpointing: bool = True
    bf16: bool = False
    lora_rank: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the configuration."""
        how = dict(pack_rollouts=None if self.packed else False, gradient_checkpointing=self.checkpointing)
        return how | dict(per_device_train_batch_size=self.rollouts, bf16=self.bf16)


def cases() -> Iterator[tuple[str, MemoryCase]]:
    """Three sizes, all parameters or an adapter, packed or padded, with and without recomputation; bfloat16 apart."""
    for name, size in SIZES.items():
        for rank in (None, 16):
            for checkpointing in (True, False):
                for packed in (True, False):
                    yield name, MemoryCase(size, 4, packed, checkpointing, lora_rank=rank)
                yield name, MemoryCase(size, 4, True, checkpointing, bf16=True, lora_rank=rank)


class SecondStep(TrainerCallback):
    """Bytes between the steps, and the peak of the second, in which the optimizer has its state."""

    lasting = top = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            gc.collect()
            self.lasting = reset_peak()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            self.top = peak()


def train(case: MemoryCase) -> SecondStep:
    """What was seen of the second of two optimizer steps, each with a generation of two micro-steps."""
    size = case.size
    lengths = dict(longest=size.completion, prompt=size.prompt, vocabulary=size.vocabulary)
    setting = Setting(rollouts=2 * case.rollouts, group=GROUP, batch=case.rollouts, **lengths)
    fields = case.options | dict(max_steps=2, learning_rate=1e-3, max_completion_length=size.completion)
    rollouts = Rollouts((0.0, 0.0), setting, equal_lengths=True)
    adapter, seen = None, SecondStep()
    if case.lora_rank:
        adapter = LoraConfig(r=case.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = build_trainer(
        "REAL",
        build_config("REAL", setting, 1, fields),
        LlamaForCausalLM(size.config),
        size.vocabulary,
        Dataset.from_dict({"prompt": ["w1"] * (setting.rollouts // GROUP)}),
        reward_funcs=rollouts.reward,
        rollout_func=rollouts.rollout_func,
        peft_config=adapter,
        callbacks=[seen],
    )
    trainer.train()
    return seen


def measure(case: MemoryCase) -> dict[str, int]:
    """Bytes that stay between the steps (`lasting`: weights and optimizer), and at the `peak`."""
    train(replace(case, size=TINY))  # what is imported and started with the first step
    gc.collect()
    start = in_use()
    seen = train(case)
    return {"lasting": seen.lasting - start, "peak": seen.top - start}


def run_alone(case: MemoryCase) -> dict[str, int]:
    """The bytes of a run, in a process of its own."""
    words = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    run = subprocess.run(words, env=os.environ | GIVE_BACK, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{case} ended with {run.returncode}:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def estimate(case: MemoryCase) -> dict[str, float]:
    """Bytes by purpose, without generation, and their sum as `peak`."""
    fields = case.options | dict(
        deepspeed=None,
        fp16=False,
        dtype="float32",
        load_in_4bit=False,
        beta=0.0,
        use_cpu=not GPU,
        use_peft=case.lora_rank is not None,
        max_prompt_tokens=case.size.prompt,
        max_completion_length=case.size.completion,
    )
    parts = estimate_memory(model_size(case.size.config, case.lora_rank), fields, 2 * case.rollouts, 1)
    parts.pop("kv_cache")
    return parts | {"peak": sum(parts.values())}


def row(name: str, case: MemoryCase, measured: dict[str, int]) -> list[str]:
    """A row of the table: megabytes, and the estimate of the peak as a multiple of the peak."""
    guessed = estimate(case)
    lasting = guessed["weights"] + guessed["optimizer"]
    active = measured["peak"] - measured["lasting"] - guessed["gradients"]
    numbers = [measured["lasting"], active, measured["peak"], lasting, guessed["activations"], guessed["peak"]]
    how = ["all" if case.lora_rank is None else f"LoRA {case.lora_rank}", "packed" if case.packed else "padded"]
    how += ["yes" if case.checkpointing else "no", "bfloat16" if case.bf16 else "float32"]
    ratio = f"{guessed['peak'] / measured['peak']:.2f}"
    return [name, *how, *(f"{number / 1e6:.0f}" for number in numbers), ratio]


def case_from(fields: dict[str, Any]) -> MemoryCase:
    """A case as JSON has it."""
    return MemoryCase(**fields | {"size": Size(**fields["size"])})


def main() -> None:
    """Read the command line, run the cases, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="File for the record, as in docs/results/performance/.")
    parser.add_argument("--read", type=Path, help="Measure nothing; numbers of an earlier run.")
    parser.add_argument(
        "--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), help="Parameters of the model."
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)  # for the processes that this starts
    words = parser.parse_args()
    if words.case:
        print("\n" + json.dumps(measure(case_from(json.loads(words.case)))))
        return
    if words.read:
        earlier = json.loads(words.read.read_text("utf-8"))
        runs = ((each["name"], case_from(each["case"]), each["measured"]) for each in earlier)
    else:
        runs = ((name, case, run_alone(case)) for name, case in cases() if name in words.sizes)
    table = Table(COLUMNS, words.output)
    for name, case, measured in runs:
        table.add(row(name, case, measured), name=name, case=asdict(case), measured=measured)


if __name__ == "__main__":
    main()
