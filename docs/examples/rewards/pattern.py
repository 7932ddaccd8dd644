import re


def matches(completions, pattern, **kwargs):
    """1.0 if the complete text matches the regular expression of its row."""
    rewards = []
    for completion, wanted in zip(completions, pattern, strict=True):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        rewards.append(float(re.fullmatch(wanted, text.strip(), re.DOTALL) is not None))
    return rewards
