"""What would end a run as a traceback: memory that does not suffice, errors of a reward function, under a launcher."""

from pathlib import Path

import pytest
import torch

from tests.support.scripts import python, write_recipe
from trl_real.cli import main
from trl_real.cli.problems import one_line_errors


def takes_all_memory(completions: list[str], **kwargs: object) -> list[float]:
    """A reward function that needs more memory than any machine has."""
    return torch.empty(2**50).tolist()


def test_too_little_memory_is_one_line_that_names_the_fields_to_change(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, reward_funcs=f"{__name__}.takes_all_memory", eval_on_start=False)
    with pytest.raises(SystemExit, match=r"^error: out of memory while training \(.*per_device_train_batch_size"):
        main(["train", "--config", str(recipe)])


def test_other_errors_of_a_run_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes"), one_line_errors("training"):
        raise RuntimeError("shapes do not fit")
    with pytest.raises(SystemExit, match="while loading the model"), one_line_errors("loading the model"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(("more", "status"), [([], 0), (["--dataset_name", "nowhere.jsonl"], 1)])
def test_errors_under_a_launcher_stay_one_line(tmp_path: Path, more: list[str], status: int) -> None:
    recipe = write_recipe(tmp_path, eval_strategy="no", eval_on_start=False, save_strategy="no")
    words = ["train", "--config", str(recipe), "--num_processes", "1", "--mixed_precision", "no", "--max_steps", "1"]
    run = python("-m", "trl_real", *words, *more, cwd=tmp_path)
    assert run.returncode == status, run.stderr[-4000:]
    if status == 0:
        assert (tmp_path / "out" / "model.safetensors").exists()
    else:
        assert "error: dataset_name: there is no file or folder nowhere.jsonl" in run.stderr
        assert "Traceback" not in run.stderr


def reads_messages(completions: list, **kwargs: object) -> list[float]:
    """A reward function for conversations."""
    return [float(len(completion[0]["content"])) for completion in completions]


def test_a_reward_function_for_the_other_kind_of_completions_is_one_line(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, reward_funcs=f"{__name__}.reads_messages", eval_on_start=False)
    with pytest.raises(SystemExit, match="^error: reward_funcs: reads_messages failed .* set prompt_format: chat"):
        main(["train", "--config", str(recipe)])
