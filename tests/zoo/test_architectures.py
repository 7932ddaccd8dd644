"""An architecture of each mechanism trains the same under every batching, as docs/models.md has it."""

from importlib.metadata import version

import pytest

from tests.support.scripts import ROOT
from tests.zoo.page import check, documented, row, try_model


# Full attention, windows, caps, sinks, absolute positions, ALiBi, experts, latent attention, states and what has them
# beside attention, convolutions, no ends of rows, images, RoPE that changes; `python -m tests.zoo.page` trains all
MECHANISMS = "llama gemma2 gpt_oss gpt2 bloom qwen3_moe deepseek_v3 mamba jamba qwen3_next recurrent_gemma".split()
MECHANISMS += ["lfm2", "nemotron", "qwen2_5_vl", "phi3, longrope", "llama, dynamic rope"]
PINNED = f"transformers=={version('transformers')}" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("name", MECHANISMS)
def test_an_architecture_trains_the_same_under_every_batching_as_documented(name):
    trial = try_model(name)
    check(name, trial)
    if PINNED:  # which models are packed depends on the version of Transformers
        assert row(name, trial.forwards) == documented(name)
