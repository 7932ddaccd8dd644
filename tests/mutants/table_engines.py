"""Mutants of trl_real/engines."""

from .mutant import Mutant
from .table_step import REENTRANT


FROZEN = "tests/engines/test_frozen_base.py"
CHECKPOINTING = "tests/engines/test_checkpointing.py"
FSDP = "tests/engines/test_fsdp.py"
PRECISION = "tests/engines/test_precision.py"


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
    # backwards of their own
    engines(
        "no layer is under reentrant checkpointing",
        "return any(getattr(function",
        "return False and any(getattr(function",
        f"{REENTRANT} -k whoever",
    ),
    engines(
        "a layer that calls PyTorch's checkpointing by itself is not reentrant",
        '.get("use_reentrant", True)',
        '.get("use_reentrant", False)',
        f"{REENTRANT} -k by_itself",
    ),
    engines(
        "DDP needs no backward for each forward",
        "(deepspeed or (accelerator.use_distributed and not accelerator.is_fsdp2))",
        "deepspeed",
        REENTRANT,
    ),
    engines(
        "DeepSpeed's optimizer steps after the first of several backwards",
        "accelerator.sync_gradients = accelerator.sync_gradients, False",
        "accelerator.sync_gradients = accelerator.sync_gradients, accelerator.sync_gradients",
        REENTRANT,
    ),
    engines(
        "gradients are never synchronized after several backwards",
        "accelerator.sync_gradients = synchronizes",
        "pass",
        REENTRANT,
    ),
    engines(
        "DeepSpeed divides a loss by its micro-steps again",
        '{"scale_wrt_gas": False} if accelerator.distributed_type == DistributedType.DEEPSPEED else {}',
        "{}",
        REENTRANT,
    ),
    # checkpointing
    engines(
        "forwards without a gradient are recomputed",
        "layer.gradient_checkpointing = False",
        "pass",
        f"{CHECKPOINTING} -k even_after",
    ),
    engines(
        "checkpointing stays off",
        "layer.gradient_checkpointing = True",
        "pass",
        f"{CHECKPOINTING} -k even_after",
    ),
    # FSDP
    engines(
        "FSDP rounds log-probabilities",
        "if policy is None or policy.param_dtype is None:",
        "if True:",
        f"{FSDP} -k fsdp2_rounds",
    ),
    engines(
        "FSDP1 sums gradients in lower precision",
        "replace(policy, reduce_dtype=full, buffer_dtype=full)",
        "replace(policy, buffer_dtype=full)",
        f"{FSDP} -k fsdp1",
    ),
    engines(
        "a user's own policy of precision is changed",
        "if policy == MixedPrecisionPolicy(low, reduce_dtype=low, output_dtype=low):",
        "if isinstance(policy, MixedPrecisionPolicy):",
        f"{FSDP} -k another_policy",
    ),
    engines(
        "FSDP2 never gathers a head that is not trained",
        "if isinstance(head, FSDPModule):",
        "if False:",
        "tests/settings",
    ),
    # vLLM
    engines(
        "a vLLM in another precision is not said",
        "if sampled == trained:",
        "if True:",
        f"{PRECISION} -k another_precision",
    ),
    engines(
        "raw log-probabilities of a server are taken at any temperature",
        '(kind == "raw_logprobs" and generation.temperature == 1.0)',
        'kind == "raw_logprobs"',
        f"{PRECISION} -k gives_other",
    ),
    engines(
        "mismatch_limit does not mind a server's log-probabilities",
        "if mismatch_limit is not None:",
        "if False:",
        f"{PRECISION} -k gives_other",
    ),
]
