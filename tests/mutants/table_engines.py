"""Mutants of trl_real/engines."""

from .mutant import Mutant


FROZEN = "tests/engines/test_frozen_base.py"


def engines(claim: str, old: str, new: str, tests: str) -> Mutant:
    return Mutant(claim, "engines", old, new, tests)


MUTANTS = [
    engines(
        "the base keeps what merging and unmerging rounded",
        "parameter.data.copy_(values)",
        "pass",
        f"{FROZEN} -k 'never_changes and lora'",
    ),
    engines(
        "vLLM is sent the weights without the adapter",
        "            module.merge()\n",
        "            pass\n",
        f"{FROZEN} -k 'never_changes and lora'",
    ),
    engines(
        "vLLM is sent the layer itself, which is unmerged by then",
        "{name: parameter.data.clone() for name, parameter in layer",
        "{name: parameter.data for name, parameter in layer",
        f"{FROZEN} -k 'never_changes and lora'",
    ),
    engines(
        "parameters under way are not settled before they are sent",
        "        settle(generation.accelerator)\n",
        "",
        "tests/engines/test_sharded.py",
    ),
]
