"""
What Inspect costs: `trl-real evaluate` beside the bare loop of its sampler, on the same prompts in batches of the same
size. The loop's seconds are without reading the weights, the evaluation's with them.

    python benchmarks/evaluation.py --model models/SmolLM2-135M-Instruct --problems ../shared/data/math.parquet

Prints the seconds of both, in turns, and their ratio. The loop neither judges nor writes anything.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from statistics import median

from trl_real.evaluation.engine.asking import sample
from trl_real.evaluation.engine.models import encode_prompts, find_model
from trl_real.evaluation.engine.sampler import TransformersSampler
from trl_real.evaluation.engine.settings import SamplingSettings, sample_seed
from trl_real.evaluation.options import EvaluationArguments
from trl_real.evaluation.problems import load_benchmark


def plain(options: argparse.Namespace) -> float:
    """Seconds of the loop."""
    source = find_model(options.model)
    tokenizer = source.load_tokenizer()
    problems = load_benchmark(options.problems).limit(options.limit)
    ids = [list(each) for each in encode_prompts(tokenizer, problems.prompts, options.model, {})]
    rows = [(number, k) for number in range(len(ids)) for k in range(options.samples)]
    settings = SamplingSettings(0.6, 0.95, 0, None, 1.0, options.max_new_tokens)
    sampler = TransformersSampler(source, tokenizer, "float32")
    start = time.perf_counter()
    for first in range(0, len(rows), options.batch_size):
        batch = rows[first : first + options.batch_size]
        seeds = [sample_seed(0, problems.name, *row) for row in batch]
        for completion in sampler.sample([ids[number] for number, _ in batch], settings, seeds):
            tokenizer.decode(completion.ids, skip_special_tokens=True)
    return time.perf_counter() - start


def evaluated(options: argparse.Namespace) -> float:
    """Seconds of the evaluation, from the options to the verdicts, with reading the weights."""
    with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(io.StringIO()):
        words = {name: getattr(options, name) for name in ("samples", "limit", "max_new_tokens", "batch_size")}
        arguments = EvaluationArguments(
            models=[options.model], benchmarks=[options.problems], output=output, backend="transformers", **words
        )
        start = time.perf_counter()
        sample(arguments)
        seconds = time.perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder or hub id")
    parser.add_argument("--problems", required=True, help="a benchmark's name or file")
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max_new_tokens", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("XDG_DATA_HOME", tempfile.mkdtemp())  # Inspect's buffer
    seconds: dict[str, list[float]] = {"loop": [], "evaluate": []}
    for _ in range(options.rounds):
        seconds["loop"].append(plain(options))
        seconds["evaluate"].append(evaluated(options))
    loop, whole = median(seconds["loop"]), median(seconds["evaluate"])
    print("| loop, s | trl-real evaluate, s | ratio |\n| --- | --- | --- |")
    print(f"| {loop:.1f} | {whole:.1f} | {whole / loop:.2f} |")


if __name__ == "__main__":
    main()
