"""
A task small enough to compare methods on a CPU, and a model that is worth training on it.

A prompt is a chain of one-digit operations, `7+3*2-5=`; the answer is every running value, from left to right and
modulo 10, so `0`, `0`, `5`; a completion is right if its last digit is. With 5 operations there are 2.4e8 prompts, so
held-out prompts were not trained on. The model, a GPT-2 of 273k parameters, is warmed up on a teacher that errs: every
operation is done right with a fixed probability, else with a fixed misconception. It therefore knows the facts, but
samples them at the teacher's rate, which leaves reinforcement learning a lot to do.

    python docs/results/studies/chain.py                 # writes models/chain5 and its questions, two CPU-minutes
    python docs/results/studies/chain.py --steps 900 --anneal --output_dir models/chain5_annealed
    python docs/results/studies/chain.py --length 10 --output_dir models/chain10_hard
    python docs/results/studies/chain.py --length 10 --teacher 0.95 0.82 0.68 --output_dir models/chain10

In: nothing. Out: a model folder with its tokenizer and, in `data`, training and held-out questions. A finished folder
is left as it is; an interrupted run leaves none. The study `chain5.yaml` names the reward functions.
"""

import argparse
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast


OPERATORS = "+-*"
TEACHER = (0.90, 0.65, 0.50)  # how often it does +, - and * right
LONGEST_CHAIN = 40
WARM_UP = dict(steps=1000, batch=128, learning_rate=2e-3, anneal=False, seed=0)
TRAIN_PROMPTS, HELD_OUT_PROMPTS = 5000, 650
NOISE = 0.2  # share of completions that the erring verifier misjudges


def true_value(a: int, operator: str, b: int) -> int:
    """One operation modulo 10."""
    return {"+": a + b, "-": a - b, "*": a * b}[operator] % 10


def misconception(a: int, operator: str, b: int) -> int:
    """What the teacher does when it errs."""
    return {"+": a + b + 1, "-": b - a, "*": a + b}[operator] % 10


def running_values(prompt: str, teacher: Sequence[float] = (1.0, 1.0, 1.0), luck: random.Random | None = None) -> str:
    """The values after every operation of a prompt, as digits; with a teacher, errors at its rate."""
    value, digits = int(prompt[0]), ""
    for operator, operand in zip(prompt[1:-1:2], prompt[2:-1:2], strict=True):
        right = luck is None or luck.random() < teacher[OPERATORS.index(operator)]
        value = (true_value if right else misconception)(value, operator, int(operand))
        digits += str(value)
    return digits


def draw_prompt(length: int, luck: random.Random) -> str:
    """A random chain of so many operations."""
    operations = (luck.choice(OPERATORS) + str(luck.randrange(10)) for _ in range(length))
    return f"{luck.randrange(10)}{''.join(operations)}="


def draw_prompts(length: int, number: int, seed: str, without: set[str] = frozenset()) -> list[dict[str, str]]:
    """Rows with `prompt`, its running `values` and the `answer`; the same seed gives the same rows."""
    luck, rows = random.Random(seed), []
    while len(rows) < number:
        prompt = draw_prompt(length, luck)
        if prompt not in without:
            values = running_values(prompt)
            rows.append({"prompt": prompt, "values": values, "answer": values[-1]})
    return rows


def last_digit_reward(completions: list[str], answer: list[str], **kwargs: Any) -> list[float]:
    """1 if the last digit of a completion is the answer."""
    return [float(completion.strip()[-1:] == right) for completion, right in zip(completions, answer, strict=True)]


def share_right_reward(completions: list[str], values: list[str], **kwargs: Any) -> list[float]:
    """Share of the running values at their place: a graded reward, 1 if the whole chain is right."""
    pairs = zip(completions, values, strict=True)
    return [sum(map(str.__eq__, completion, right)) / len(right) for completion, right in pairs]


def whole_chain_reward(completions: list[str], values: list[str], **kwargs: Any) -> list[float]:
    """1 if every running value is correct."""
    return [float(completion.strip() == right) for completion, right in zip(completions, values, strict=True)]


def erring_verifier(
    false_correct: float, false_incorrect: float, truth: Callable = last_digit_reward, fixed: bool = True
) -> Callable[..., list[float]]:
    """
    A reward function that misjudges these shares of incorrect and of correct completions: always the same ones, chosen
    by a hash of prompt and completion, or, with `fixed=False`, other ones each time.
    """

    def reward(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
        values = truth(completions=completions, **kwargs)
        pairs = zip(prompts, completions, strict=True)
        shares = [_hash_share(prompt + text) if fixed else random.random() for prompt, text in pairs]
        return [
            1.0 - value if share < (false_incorrect if value else false_correct) else value
            for value, share in zip(values, shares, strict=True)
        ]

    return reward


def _hash_share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


noisy_reward = erring_verifier(NOISE, NOISE)  # of the study chain5.yaml
# Of the study choose.yaml, which judges held-out answers by the truth
false_correct_1, false_correct_3, false_correct_10 = (erring_verifier(share, 0.0) for share in (0.01, 0.03, 0.1))
false_incorrect_5, false_incorrect_20 = (erring_verifier(0.0, share) for share in (0.05, 0.2))
random_correct_10 = erring_verifier(0.1, 0.0, fixed=False)
random_incorrect_20 = erring_verifier(0.0, 0.2, fixed=False)
rare_false_correct_3 = erring_verifier(0.03, 0.0, whole_chain_reward)


def chain_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<eos>", *"0123456789", *OPERATORS, "="])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>", padding_side="left"
    )


def untrained_model(tokenizer: PreTrainedTokenizerFast, width: int = 96, layers: int = 3) -> GPT2LMHeadModel:
    """A float32 GPT-2 without dropout."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=3 * LONGEST_CHAIN + 8,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        n_inner=256,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPT2LMHeadModel(config)


def train_on_teacher(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    length: int,
    teacher: Sequence[float],
    steps: int,
    batch: int,
    learning_rate: float,
    anneal: bool,
    seed: int,
) -> float:
    """Supervised training on the teacher's answers; returns the mean loss of the last 50 steps. With `anneal`, the
    learning rate goes to 0 over the last 100 steps."""
    luck, losses = random.Random(f"warm-up {seed}"), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    last = 100 if anneal else 1
    ramp = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 50, (steps - step) / last))
    model.train()
    for _ in range(steps):
        prompts = [draw_prompt(length, luck) for _ in range(batch)]
        texts = [prompt + running_values(prompt, teacher, luck) for prompt in prompts]
        ids = torch.tensor([[*row, tokenizer.eos_token_id] for row in tokenizer(texts)["input_ids"]])
        labels = ids.clone()
        labels[:, : len(prompts[0])] = -100  # the prompt is not learnt
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ramp.step()
        losses.append(loss.item())
    return sum(losses[-50:]) / len(losses[-50:])


def write_base(folder: Path, length: int, teacher: Sequence[float], warm_up: dict[str, Any]) -> None:
    """Writes beside the target and renames at the end, so that a half-written folder never looks finished."""
    tokenizer = chain_tokenizer()
    torch.manual_seed(warm_up["seed"])
    model = untrained_model(tokenizer)
    loss = train_on_teacher(model, tokenizer, length, teacher, **warm_up)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        about = dict(length=length, teacher=list(teacher), warm_up=warm_up, loss=round(loss, 4))
        write_questions(temporary / "data", length)
        (temporary / "chain.json").write_text(json.dumps(about))
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_questions(folder: Path, length: int) -> None:
    """Training and held-out rows, none of which is in both."""
    held_out = draw_prompts(length, HELD_OUT_PROMPTS, "held out")
    train = draw_prompts(length, TRAIN_PROMPTS, "train", {row["prompt"] for row in held_out})
    folder.mkdir()
    for part, rows in (("train", train), ("test", held_out)):
        (folder / f"{part}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=5, help=f"operations in a prompt, up to {LONGEST_CHAIN}")
    parser.add_argument("--teacher", type=float, nargs=3, default=TEACHER, help="how often it does + - * right")
    parser.add_argument("--steps", type=int, default=WARM_UP["steps"], help="steps of the warm-up")
    parser.add_argument("--anneal", action="store_true", help="let the learning rate of the warm-up end at 0")
    parser.add_argument("--output_dir", type=Path)
    arguments = parser.parse_args()
    folder = arguments.output_dir or Path(f"models/chain{arguments.length}")
    if (folder / "config.json").exists():
        print(f"{folder} is there already.")
        return
    if folder.exists():
        raise SystemExit(f"{folder} exists but holds no model. Remove it or choose another --output_dir.")
    write_base(
        folder, arguments.length, arguments.teacher, WARM_UP | dict(steps=arguments.steps, anneal=arguments.anneal)
    )
    print(f"Wrote {folder}")


if __name__ == "__main__":
    main()
