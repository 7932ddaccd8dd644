"""What processes must do alike, beyond the gradient: as many forwards each, and one way to lay out the rows."""

import json
from typing import Any

import pytest

from tests.support.cuts import trainer_for
from tests.support.processes import start
from tests.trainer.two_processes import SGD, flat_parameters, main


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What both processes wrote, by what was run; a scenario that a process did not finish is missing."""
    folder = tmp_path_factory.mktemp("seen")
    start(main, [(folder,)] * 2, folder / "said.txt")
    names = {path.stem[:-2] for path in folder.glob("*.json")}
    files = {name: [folder / f"{name}-{rank}.json" for rank in (0, 1)] for name in names}
    return {
        name: [json.loads(path.read_text()) for path in paths]
        for name, paths in files.items()
        if all(path.exists() for path in paths)
    }


def test_every_process_runs_as_many_forwards_in_every_micro_step(seen: dict[str, list[dict[str, Any]]]) -> None:
    """ZeRO-3 and FSDP gather the weights in every forward, so a process that runs fewer leaves the others waiting."""
    first, second = seen["forward_counts"]
    assert first["forwards"] == second["forwards"] and max(first["forwards"]) > 0
    assert first["tokens"] != second["tokens"]  # they did run different rows


def test_the_gradient_has_the_scale_of_one_process(seen: dict[str, list[dict[str, Any]]]) -> None:
    first, second = seen["steps_of_sgd"]
    trainer = trainer_for(SGD)
    trainer.train()
    for other in (first, second):
        assert flat_parameters(trainer) == pytest.approx(other["parameters"], abs=1e-4)


def test_one_process_on_which_rows_see_each_other_makes_all_pad(seen: dict[str, list[dict[str, Any]]]) -> None:
    first, _ = seen["leak_on_one_process"]
    assert any("a row changes its neighbor" in sentence for sentence in first["said"])
