"""Every architecture trains the same in every cut, and the documentation says how it is run."""

import pytest

from tests.trainer.test_exactness import TOLERANCE
from tests.zoo.page import MODELS, documented, row, try_model


@pytest.mark.parametrize("name", MODELS)
def test_an_architecture_trains_the_same_in_every_cut_as_the_documentation_says(name):
    trial = try_model(name)
    assert trial.moved > 100 * TOLERANCE
    assert trial.difference < TOLERANCE
    assert row(name, trial.forwards) == documented(name)
