def exact_match(completions, answer, **kwargs):
    """1.0 if the last line is the answer, 0.0 if not, None (no label) if the data set has no answer."""
    rewards = []
    for completion, expected in zip(completions, answer, strict=True):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        last_line = text.strip().split("\n")[-1].strip()
        rewards.append(None if expected is None else float(last_line == str(expected)))
    return rewards
