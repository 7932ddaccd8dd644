import subprocess
import sys


def passes(completions, tests, **kwargs):
    """1.0 if the program and its tests run without an error."""
    rewards = []
    for completion, test in zip(completions, tests, strict=True):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        command = [sys.executable, "-I", "-c", f"{text}\n{test}"]
        done = subprocess.run(command, env={}, capture_output=True)
        rewards.append(float(done.returncode == 0))
    return rewards
