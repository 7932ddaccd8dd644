"""A run in no time, which fails with seed 7. Its `validation` grows with the learning rate, and its `test` falls."""

import argparse
import json
from pathlib import Path


parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float)
parser.add_argument("--seed", type=int)
parser.add_argument("--record", type=Path)
options, _ = parser.parse_known_args()
if options.seed == 7:
    raise SystemExit("error: no luck")
numbers = dict(validation=options.learning_rate, test=1 - options.learning_rate + options.seed / 100, seconds=2.0)
numbers |= dict(rollouts=8, sampled_tokens=40, trained_tokens=30, curve={})
options.record.write_text(json.dumps(numbers))
