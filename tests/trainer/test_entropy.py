"""The adaptive entropy bonus is TRL's: what our controller makes of TRL's own entropies, TRL made of them too."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import QUIET, prompts_dataset, tiny_model, tiny_tokenizer
from tests.support.trainers import even_start
from trl_real import REALTrainer


@pytest.mark.parametrize(("target", "end"), [(99.0, 0.1), (0.0, 0.02)])
def test_the_controller_moves_as_trls_own_does(target: float, end: float, tmp_path: Path) -> None:
    options = QUIET | dict(per_device_train_batch_size=8, num_generations=4, max_completion_length=6, max_steps=3)
    options |= dict(use_adaptive_entropy=True, entropy_coef=0.06, entropy_coef_delta=0.03, entropy_coef_min=0.02)
    args = GRPOConfig(str(tmp_path), **options, entropy_coef_max=0.1, entropy_target=target)
    theirs = GRPOTrainer(
        tiny_model(), even_start, args, train_dataset=prompts_dataset(8), processing_class=tiny_tokenizer()
    )
    theirs.train()
    log = [record for record in theirs.state.log_history if "entropy_coef" in record]
    ours = SimpleNamespace(args=args, entropy_coef=args.entropy_coef)
    coefs = []
    for record in log:
        REALTrainer._adapt_entropy_coef(ours, record["entropy"])
        coefs.append(ours.entropy_coef)
    assert coefs == [record["entropy_coef"] for record in log] and coefs[-1] == end
    assert ours._last_world_entropy == pytest.approx(theirs._last_world_entropy)
