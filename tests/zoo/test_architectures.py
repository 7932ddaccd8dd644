"""Every architecture trains the same in every cut, and the documentation says how it is run."""

from importlib.metadata import version

import pytest

from tests.support.scripts import ROOT
from tests.trainer.test_exactness import TOLERANCE
from tests.zoo.page import MODELS, documented, row, try_model


PINNED = f"transformers=={version('transformers')}" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("name", MODELS)
def test_an_architecture_trains_the_same_in_every_cut_as_the_documentation_says(name):
    trial = try_model(name)
    assert trial.moved > 100 * TOLERANCE
    assert trial.difference < TOLERANCE
    if PINNED:  # which models are packed depends on the version of Transformers
        assert row(name, trial.forwards) == documented(name)
