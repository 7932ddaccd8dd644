"""The update phase without TRL's trainer: the script of the docs trains what plain autograd does; laws of the room."""

import re
from pathlib import Path

import torch

from tests.objective import reference
from tests.support.tiny import tiny_model
from tests.trainer.oracle import Sample, forward
from trl_real import step


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/guides/update-phase.md"
ROOM = Path(step.__file__).parent
LABELS = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1], [0, 1, torch.nan, 0], [1, 0, 0, 0]])


def rollouts() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Prompts and completions of several lengths, four rollouts of each prompt in a row."""
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> torch.Tensor:
        return torch.randint(2, 60, (length,), generator=generator)

    prompts = [draw(length) for length in (3, 6, 2, 4)]
    return [prompt for prompt in prompts for _ in range(4)], [draw(2 + row % 5) for row in range(16)]


def test_the_script_of_the_docs_trains_two_exact_steps(tmp_path, capsys):
    tiny_model().save_pretrained(tmp_path)
    [script] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names = dict(MODEL=str(tmp_path))
    exec(compile(script, str(PAGE), "exec"), names)
    prompts, completions = rollouts()
    names["train_generation"](prompts, completions, LABELS, taken=0)
    assert capsys.readouterr().out.count("scores/abs_mean") == 2

    model = tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def logps(row: int) -> torch.Tensor:
        sample = Sample(prompts[row].tolist(), completions[row].tolist(), [], 0.0)
        return forward(model, sample, temperature=1.0)[0]

    old = [logps(row).detach() for row in range(16)]
    for rows, labels in ((range(8), LABELS[:2]), (range(8, 16), LABELS[2:])):
        scores = torch.stack([(logps(row) - old[row]).mean() for row in rows]).view(2, 4)
        losses = [reference.group_loss(*group) for group in zip(scores, labels.tolist(), strict=True)]
        (sum(losses) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    trained, start = dict(names["model"].named_parameters()), dict(tiny_model().named_parameters())
    for name, value in model.named_parameters():
        assert (trained[name] - value).abs().max() < 1e-5, name
    assert max((trained[name] - start[name]).abs().max() for name in start) > 1e-2


def test_only_the_trainer_writes_what_is_logged():
    for path in ROOM.parent.rglob("*.py"):
        if path.name != "trainer.py":
            text = path.read_text("utf-8")
            assert "._metrics" not in text and "._logs" not in text, path
