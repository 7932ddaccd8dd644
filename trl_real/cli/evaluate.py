"""
Pass@1 of models on the paper's benchmarks, or on the held-out set of a recipe: the program behind `trl-real evaluate`
and `recipes/evaluate.py`.

    trl-real evaluate --models deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B runs/real_1p5b
    trl-real evaluate --models A B --benchmarks aime24 math500 --data data/benchmarks --samples 4
    trl-real evaluate --config quickstart.yaml            # before and after, on the recipe's own questions
    trl-real evaluate --report --output runs/eval         # samples nothing; the paper's rows beside yours

Models are hub ids (`name@revision`), folders, checkpoints or adapters; benchmarks are aime24, aime25, math500, amc23,
minerva, olympiad (default: all), files, or hub ids. Without other options, sampling is the paper's: 16 samples,
temperature 0.6, top_p 0.95, 8,192 tokens. The options are those of `trl_real.evaluation.options.EvaluationArguments`.

In: models and problems. Out, in `output`: a folder for each model and set with every sample and its verdict
(`trl_real.evaluation.sampling.store` says how), `table.md`, and `results.json`. The same command goes on where it was
stopped. With several processes (GPUs) each holds a whole model and takes the next chunk of samples that nobody has.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..evaluation.options import DEFAULTS, EvaluationArguments
from ..evaluation.problems import BENCHMARKS, ProblemSet, load_benchmark
from ..evaluation.report import write_report
from ..evaluation.sampling.crew import Crew
from ..evaluation.sampling.filling import SAMPLING_FIELDS, sample_missing
from ..evaluation.sampling.models import ModelSource, encode_prompts, find_model
from ..evaluation.sampling.samplers import SamplingSettings, default_dtype, pick_backend
from ..evaluation.sampling.store import SampleStore, find_stores, prepare_stores
from ..evaluation.trained_on import find_training_data
from ..recipe.held_out import load_held_out
from ..recipe.reading import build_options, read_options, split_config
from ..recipe.shipped import recipes_folder
from .overview import evaluate_help
from .problems import memory_errors


RECIPES = recipes_folder()
CHUNK = {"transformers": 32, "vllm": 512}

Questions = list[tuple[ProblemSet, dict[str, Any]]]  # each with its judge


def read_questions(arguments: EvaluationArguments, config: str | None) -> tuple[Questions, dict[str, Any]]:
    """The sets, and the values of all options that may be left open: given, or the recipe's, or the paper's."""
    given = {name: value for name, value in vars(arguments).items() if name in DEFAULTS and value not in (None, [])}
    if "chat_template_kwargs" in given:
        try:
            given["chat_template_kwargs"] = json.loads(given["chat_template_kwargs"])
        except ValueError as error:
            raise ValueError(f"chat_template_kwargs: {error}; write JSON, such as '{{\"a\": true}}'.") from error
    values = DEFAULTS
    if config is not None:
        if arguments.benchmarks or arguments.require_think is not None:
            raise ValueError("benchmarks, require_think: with --config, the recipe has them; leave them out.")
        held_out = load_held_out(config, RECIPES)
        questions, values = [(held_out.problems, held_out.judge)], values | held_out.settings
    else:
        judge = {"require_think": arguments.require_think is not False}
        folder = Path(arguments.data).expanduser() if arguments.data else None
        questions = [(load_benchmark(name, folder), judge) for name in arguments.benchmarks or BENCHMARKS]
    questions = [(problems.limit(arguments.limit), judge) for problems, judge in questions]
    if arguments.prompt_format == "plain":
        questions = [(problems.plain(), judge) for problems, judge in questions]
    return questions, values | given


def check_length(prompt_ids: list[list[int]], model: ModelSource, max_new_tokens: int) -> None:
    longest, room = max(map(len, prompt_ids)), model.longest()
    if room is not None and longest + max_new_tokens > room:
        raise ValueError(
            f"max_new_tokens: {model.name} has {room} positions, and the longest prompt takes {longest}. Write "
            f"--max_new_tokens {room - longest} or less."
        )


def prepare(arguments: EvaluationArguments, config: str | None) -> list[SampleStore]:
    """Everything that can fail before a weight is read."""
    questions, values = read_questions(arguments, config)
    if not values["models"]:
        raise ValueError("models: name at least one, by its hub id or its folder.")
    how = {name: values[name] for name in SAMPLING_FIELDS}
    SamplingSettings(**how)
    if how["temperature"] == 0 and values["samples"] > 1:
        raise ValueError("samples: with temperature 0 all of them are the same; write --samples 1.")
    how |= {"seed": arguments.seed, "backend": pick_backend(arguments.backend)}
    how |= {"dtype": arguments.dtype or default_dtype()}
    asked = []
    for model in map(find_model, values["models"]):
        tokenizer, data = model.load_tokenizer(), find_training_data(model)
        for problems, judge in questions:
            ids = encode_prompts(tokenizer, problems.prompts, model.name, values["chat_template_kwargs"] or {})
            check_length(ids, model, how["max_new_tokens"])
            about = {"set": problems.name, "title": problems.title, "samples": values["samples"], "judge": judge}
            about["training_data"] = data
            about["sampling"] = {"model": model.name, "weights": model.identity, **how}
            name = model.name.replace("/", "--").strip(".-") or "model"  # also for `.` and `../model`
            folder = Path(arguments.output) / name / problems.name
            asked.append((folder, about, problems.rows(ids)))
    return prepare_stores(asked)


class Bar:
    """A progress bar for each model, with the time that is left; only in the first process."""

    def __init__(self, crew: Crew) -> None:
        self.crew, self.model, self.bar = crew, None, None

    def __call__(self, model: str, done: int, total: int) -> None:
        if not self.crew.is_first:
            return
        if model != self.model:
            self.close()
            self.model = model
            self.bar = tqdm(desc=model, total=total, initial=done, unit="sample", smoothing=0)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def sample(arguments: EvaluationArguments, config: str | None, crew: Crew) -> list[SampleStore]:
    """Fills the stores; the first process returns when all others are done too."""
    ready = [[str(store.folder) for store in prepare(arguments, config)]] if crew.is_first else []
    stores = [SampleStore(Path(folder)) for folder in crew.share("stores", *ready)]
    bar = Bar(crew)
    backend = stores[0].settings["sampling"]["backend"]
    memory = arguments.vllm_gpu_memory_utilization
    sample_missing(stores, arguments.batch_size or CHUNK[backend], crew, bar, vllm_memory=memory)
    bar.close()
    if crew.is_first:
        crew.wait_for("sampled")
    else:
        crew.arrive("sampled")
    return stores


def pick_stores(arguments: EvaluationArguments) -> list[SampleStore]:
    """What a report is made of: all that is in the folder, or the models and sets that are named, in that order."""
    stores = find_stores(Path(arguments.output))
    if not stores:
        raise ValueError(f"output: there are no samples in {arguments.output}.")
    if arguments.require_think is not None:
        for store in stores:
            if "require_think" in store.settings["judge"]:
                store.settings["judge"]["require_think"] = arguments.require_think
    models = _order("models", arguments.models, [store.model for store in stores], arguments.output)
    sets = _order("benchmarks", arguments.benchmarks, [store.set for store in stores], arguments.output)
    picked = [store for store in stores if store.model in models and store.set in sets]
    return sorted(picked, key=lambda store: (models.index(store.model), sets.index(store.set)))


def _order(field: str, wanted: list[str], there: list[str], output: str) -> list[str]:
    there = list(dict.fromkeys(there))
    for name in wanted:
        if name not in there:
            raise ValueError(f"{field}: {output} has no samples of {name}, only of {', '.join(there)}.")
    return wanted or there


def main(argv: list[str]) -> None:
    """Runs the program; `argv` is the command line without its name."""
    text = evaluate_help(argv)
    if text is not None:
        print(text)
        return
    crew = Crew.join()
    try:
        config, words = split_config(argv)
        options, _ = read_options(words, [EvaluationArguments], RECIPES)
        [arguments] = build_options(options, [EvaluationArguments])
        with memory_errors("sampling"):
            stores = pick_stores(arguments) if arguments.report else sample(arguments, config, crew)
        if not crew.is_first:
            return
        print(f"Judging {sum(len(store.wanted) for store in stores):,} samples")
        text = write_report(stores, Path(arguments.output), with_paper=arguments.report)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{text}\nWrote {arguments.output}/table.md and results.json")


if __name__ == "__main__":
    main(sys.argv[1:])
