"""Mutants of trl_real/update and trl_real/metrics."""

from .mutant import Mutant


ORACLE = "tests/trainer/test_oracle.py"
PACKING = "tests/step/test_packing.py"
LAYOUT = "tests/step/test_micro_batches.py"
PREFIXES = "tests/step/test_prefixes.py"


def update(claim: str, old: str, new: str, tests: str) -> Mutant:
    return Mutant(claim, "update", old, new, tests)


def oracle(cases: str) -> str:
    """The cases of the oracle with these words in their names."""
    return f"{ORACLE} -k '{cases}'"


MUTANTS = [
    # terms
    update(
        "KL arguments swapped",
        "difference = target_per_token_logps - per_token_logps",
        "difference = per_token_logps - target_per_token_logps",
        oracle("kl and adapter"),
    ),
    update(
        "KL without its last term",
        "return difference.exp() - difference - 1",
        "return difference.exp() - difference",
        oracle("kl and adapter"),
    ),
    update(
        "KL to the other target",
        'if self.kl_target == "old" else',
        'if self.kl_target == "ref" else',
        oracle("kl and reference"),
    ),
    update(
        "the KL's weight is dropped",
        "self.beta * rollout_means(kl, batch.mask).sum()",
        "rollout_means(kl, batch.mask).sum()",
        oracle("kl and adapter"),
    ),
    update(
        "bias correction inverted", "if self.bias_correction:", "if not self.bias_correction:", oracle("kl and old")
    ),
    update("bias correction off", "if self.bias_correction:", "if False:", oracle("kl and bias")),
    update(
        "bias correction upside down",
        "kl * (logps - old_logps).exp()",
        "kl * (old_logps - logps).exp()",
        oracle("kl and bias"),
    ),
    update(
        "bias correction without gradient",
        "kl * (logps - old_logps).exp()",
        "kl * (logps - old_logps).exp().detach()",
        oracle("kl and bias"),
    ),
    update(
        "entropy sign flipped",
        "terms = terms - entropy_coef *",
        "terms = terms + entropy_coef *",
        oracle("entropy and bonus"),
    ),
    update(
        "entropy coefficient dropped",
        "terms - entropy_coef * rollout_means",
        "terms - rollout_means",
        oracle("entropy and bonus"),
    ),
    update(
        "MoE coefficient dropped",
        "self.balance_coef * (balance * counted).sum()",
        "(balance * counted).sum()",
        oracle("balance"),
    ),
    update(
        "the balance of rollouts without tokens counts",
        "self.balance_coef * (balance * counted).sum()",
        "self.balance_coef * balance.sum()",
        "tests/step/test_regularizers.py",
    ),
    update(
        "aux_loss averaged over fillers too",
        '"rollouts": counted.sum()',
        '"rollouts": counted.new_tensor(counted.numel(), dtype=torch.int64)',
        "tests/step/test_regularizers.py",
    ),
    update(
        "a term is a mean over the batch's width", "/ mask.sum(-1).clamp(min=1)", "/ mask.size(-1)", oracle("tool")
    ),
    update(
        "a term of a rollout without tokens divides by 0",
        "/ mask.sum(-1).clamp(min=1)",
        "/ mask.sum(-1)",
        "tests/step/test_regularizers.py",
    ),
    update(
        "masked tokens are part of a term",
        "values.masked_fill(mask == 0, 0.0).sum(-1)",
        "values.sum(-1)",
        "tests/step/test_regularizers.py",
    ),
    update(
        "kl is a sum of rollouts' means",
        'sums["kl"] = kl.sum()',
        'sums["kl"] = rollout_means(kl, batch.mask).sum()',
        oracle("kl and adapter"),
    ),
    # one generation
    update(
        "scores keep their gradient in the table",
        "scores.detach()[known]",
        "scores[known]",
        ORACLE,
    ),
    update(
        "a step takes the first groups' labels",
        "labels = self.labels[plan.groups.start : plan.groups.stop]",
        "labels = self.labels[: len(plan.groups)]",
        oracle("real"),
    ),
    update(
        "no filler on a process without rows",
        "or [self.filler] for forward in forwards]",
        "for forward in forwards if forward[self.process]]",
        "tests/trainer/test_two_processes.py",
    ),
    # plan
    update("torn groups count as whole", "whole or len(packed) <= 1", "True", oracle("real")),
    update(
        "every step is planned for known weights",
        "packed = None if step == on_policy_step else _pack(kept, capacity)",
        "packed = None",
        "tests/step/test_plan.py",
    ),
    update(
        "every step has the first groups",
        "groups = range(step * per_step, (step + 1) * per_step)",
        "groups = range(per_step)",
        oracle("real"),
    ),
    update(
        "rows without gradient are planned",
        "[row for row in group if keep[row]]",
        "list(group)",
        "tests/step/test_plan.py",
    ),
    update(
        "a packed micro-step may be too large",
        "if max(map(self._cost, dealt)) > budget:",
        "if False:",
        "tests/step/test_plan.py",
    ),
    update(
        "a padded micro-step may be too large",
        "return forwards if max(held) <= budget else None",
        "return forwards",
        "tests/step/test_plan.py",
    ),
    # layout
    update(
        "a token that the sampler did not score has a ratio",
        "known = (mask != 0) & ~sampling_logps.isnan()",
        "known = mask != 0",
        "tests/step/test_mismatch.py",
    ),
    update(
        "a ratio is that of the whole sequence, not of a token",
        "return ratios.sum(dim=1) / known.sum(dim=1).clamp(min=1)",
        "return ratios.sum(dim=1)",
        "tests/step/test_mismatch.py",
    ),
    update(
        "a rollout that the sampler liked less is within the band",
        "return ~(log_ratios.abs() <= math.log(limit))",
        "return ~(log_ratios <= math.log(limit))",
        "tests/step/test_mismatch.py",
    ),
    update(
        "the trial of packed rows always passes",
        "return bool(leak.max() <= tolerance and",
        "return True or bool(leak.max() <= tolerance and",
        f"{PACKING} -k found_out",
    ),
    update(
        "layers that are no attention do not matter",
        'set(getattr(config, "layer_types", None) or []) - ATTENTION',
        "set()",
        f"{PACKING} -k told_by_their_settings",
    ),
    update(
        "SDPA forgets the window",
        "_sees(row[0], sliding_window)[None, None] if slides else None",
        "None",
        f"{PACKING} -k window",
    ),
    update(
        "a window is one token wider",
        "sees.triu(1 - sliding_window)",
        "sees.triu(-sliding_window)",
        f"{PACKING} -k window",
    ),
    update(
        "the trial's row is shorter than the window",
        "(counted[-1], counted[0]) if slides else (counted[0], counted[:2][-1])",
        "(counted[0], counted[:2][-1])",
        f"{PACKING} -k forgotten",
    ),
    update(
        "the trial does not compare with a row alone",
        " and (change.max() if exact else change.mean()) <= tolerance",
        "",
        f"{PACKING} -k forgotten",
    ),
    update(
        "kernels of other layers do not learn where rows end",
        'boundaries["seq_idx"] = rows',
        'boundaries["rows"] = rows',
        "tests/step/test_hybrids.py",
    ),
    update(
        "packed rows are one row to SDPA",
        "zip(*(tensor.split(row_lengths, dim=2) for tensor in tensors), strict=True)",
        "[tensors]",
        f"{PACKING} -k as_if_alone",
    ),
    update(
        "positions do not restart with a row",
        "torch.cat([torch.arange(length) for length in lengths])[None]",
        "torch.arange(sum(lengths))[None]",
        LAYOUT,
    ),
    update(
        "a masked token is predicted",
        "rollout.completion_ids.masked_fill(rollout.mask == 0, IGNORED)",
        "rollout.completion_ids.clone()",
        LAYOUT,
    ),
    update(
        "a token is read one position late",
        "len(rollout.prompt_ids) - 1 for rollout in rollouts",
        "len(rollout.prompt_ids) for rollout in rollouts",
        oracle("real"),
    ),
    update(
        "fillers' padding is not zero",
        "values.flatten()[self.columns].masked_fill(self.mask == 0, 0.0)",
        "values.flatten()[self.columns]",
        LAYOUT,
    ),
    update(
        "rows are padded on the left",
        'pad(tensors, value, "right", pad_to_multiple_of)',
        'pad(tensors, value, "left", pad_to_multiple_of)',
        LAYOUT,
    ),
    update(
        "the padding is attended to",
        "right([torch.ones_like(_ids(rollout)) for rollout in rollouts], 0)",
        "right([torch.ones_like(_ids(rollout)) for rollout in rollouts], 1)",
        LAYOUT,
    ),
    update(
        "virtual tokens shift what a padded row predicts",
        "values[:, 1 - self.input_ids.size(1) :]",
        "values[:, : self.input_ids.size(1) - 1]",
        LAYOUT,
    ),
    update(
        "a truncated completion loses the places of its images",
        'batch["completion_ids"].size(1) if vision else 1',
        "1",
        "tests/step/test_rollouts.py",
    ),
    # prompts that are computed once
    update(
        "a rollout forks behind its whole prompt",
        "cut = len(prompt) - 1 if len(family) > 1 else 0",
        "cut = len(prompt) if len(family) > 1 else 0",
        PREFIXES,
    ),
    update(
        "positions restart behind a prefix",
        "torch.arange(start, start + length) for start, length",
        "torch.arange(length) for start, length",
        PREFIXES,
    ),
    update(
        "a rollout does not see its prefix",
        "torch.cat([tensors[prefix], tensors[segment]], dim=2) for tensors",
        "torch.cat([tensors[prefix][:, :, :0], tensors[segment]], dim=2) for tensors",
        f"{PREFIXES} -k as_if_alone",
    ),
    update(
        "a rollout sees the token after the next",
        ".triu(self._longest + 1)",
        ".triu(self._longest + 2)",
        f"{PREFIXES} -k as_if_alone",
    ),
    update(
        "every segment has the mask of the longest prefix",
        "self._longest - prefix : self._longest + length]",
        ": prefix + length]",
        f"{PREFIXES} -k as_if_alone",
    ),
    update(
        "FlashAttention gets the keys of a prefix behind those of its rollout",
        "[parts[of], parts[at]]",
        "[parts[at], parts[of]]",
        "tests/step/test_flash.py -k as_if_alone",
    ),
    update(
        "FlashAttention is not told where rows end, where prompts are shared",
        "is_flash(config._attn_implementation)",
        'config._attn_implementation.startswith("flash")',
        "tests/step/test_flash.py -k trains",
    ),
    update(
        "the balance loss of a rollout leaves out its prefix",
        "torch.cat([*begin, parts[at]])",
        "parts[at]",
        f"{PREFIXES} -k values",
    ),
    update(
        "other layers do not matter for shared prompts",
        'if window or set(kinds or ()) - {"full_attention"}:',
        "if window:",
        f"{PREFIXES} -k settings",
    ),
    update(
        "a prompt that is shared costs nothing",
        "return saved - -(-saved // KEYS_SHARE)",
        "return saved",
        "tests/step/test_plan.py -k memory",
    ),
    update(
        "prompts are shared however little that saves",
        "return saved if saved >= self.least * sum(self.lengths[row] for row in rows) else 0",
        "return saved",
        "tests/step/test_plan.py -k tenth",
    ),
    update(
        "groups are never cut between processes",
        "if sorted(new_loads, reverse=True) >= sorted(loads, reverse=True):",
        "if True:",
        "tests/step/test_plan.py -k one_group",
    ),
    # positions
    update(
        "packed rows on both sides of a limit share a forward",
        "return long, [row for row in rows if not self._is_long(row)]",
        "return [], rows",
        "tests/step/test_positions.py -k both_sides",
    ),
    update(
        "padded rows on both sides of a limit share a forward",
        "if shorter or self._is_long(row) != self._is_long(rows[starts[-1]]):",
        "if shorter:",
        "tests/step/test_plan.py -k memory",
    ),
    update(
        "rows beyond a dynamic limit are run",
        "if self.refuses_longer and length > self.length:",
        "if False:",
        "tests/step/test_positions.py -k too_long",
    ),
    update(
        "an unknown adapter is packed",
        "not in BY_TOKEN:",
        "in ():",
        "tests/step/test_packing.py -k adapter",
    ),
    update(
        "old log-probabilities keep a graph",
        "row[: len(rollout.completion_ids)].detach())",
        "row[: len(rollout.completion_ids)])",
        oracle("twice"),
    ),
    update(
        "a rollout without old log-probabilities has zeros",
        "elif self.rollouts[index].row is not None:",
        "elif False:",
        LAYOUT,
    ),
    update(
        "the tool mask is ignored",
        'batch["completion_mask"] * batch["tool_mask"] if',
        'batch["completion_mask"] if',
        oracle("tool"),
    ),
    update(
        "tool tokens count for the label",
        'counted = completion * batch["tool_mask"] if "tool_mask" in batch else completion',
        "counted = completion",
        "tests/step/test_rollouts.py",
    ),
    # metrics
    Mutant(
        "kl averaged over rollouts",
        "metrics",
        '"kl": ("kl", "tokens")',
        '"kl": ("kl", "labelled")',
        oracle("kl and adapter"),
    ),
    Mutant(
        "kl_old averaged over rollouts",
        "metrics",
        '"kl_old": ("kl_old", "tokens")',
        '"kl_old": ("kl_old", "labelled")',
        oracle("real"),
    ),
    Mutant(
        "weights/max is the last micro-step's",
        "metrics",
        "torch.maximum(self._sums[name], value)",
        "value",
        oracle("anchor or clipped or kept"),
    ),
    Mutant(
        "sums are kept for the next step", "metrics", "self._sums = {}\n        metrics", "metrics", oracle("real")
    ),
]
