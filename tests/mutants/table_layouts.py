"""Mutants of trl_real/step: which rows share a forward, how they are laid out, and their attention."""

from .mutant import Mutant
from .table_step import TWO, oracle, step


PLAN = "tests/step/test_plan.py"
TRIAL = "tests/step/test_trial.py"
PACKING = "tests/step/test_packing.py"
LAYOUT = "tests/step/test_micro_batches.py"
PREFIXES = "tests/step/test_prefixes.py"
FLASH = "tests/step/test_flash.py"


PASSES = "(change / tokens) ** 0.5 <= max(FLOOR, ROUNDINGS * (rounding / tokens) ** 0.5)"

MUTANTS: list[Mutant] = [
    # plan
    step("torn groups count as complete", "whole or len(packed) <= 1", "True", oracle("real")),
    step(
        "every step is planned for known weights",
        "packed = None if step == on_policy_step else _pack(kept, capacity, not capacity.one_per_backward)",
        "packed = None",
        f"{PLAN} -k whole_groups",
    ),
    step(
        "every step has the first groups",
        "groups = range(step * per_step, (step + 1) * per_step)",
        "groups = range(per_step)",
        oracle("real"),
    ),
    step(
        "rows without gradient are planned",
        "[row for row in group if keep[row]]",
        "list(group)",
        f"{PLAN} -k nothing_kept",
    ),
    step(
        "a packed micro-step may be too large",
        "if max(map(self._cost, dealt)) > self.tokens:",
        "if False:",
        f"{PLAN} -k cut_into_parts",
    ),
    step(
        "a padded micro-step may be too large",
        "return forwards if max(held) <= self.tokens else None",
        "return forwards",
        f"{PLAN} -k like_length",
    ),
    step(
        "a group in two forwards is complete although each has a backward",
        "whole = _in_one_forward_each(packed, num_generations)",
        "pass",
        f"{PLAN} -k both_sides",
    ),
    step(
        "padded rows of a group are split by length although each forward has a backward",
        "_pack(kept, capacity, not capacity.one_per_backward)",
        "_pack(kept, capacity)",
        f"{PLAN} -k share_a_forward",
    ),
    step(
        "padded rows with known weights share a forward although each forward has a backward",
        "_pack([[row] for members in kept for row in members], capacity)",
        "_pack([[row] for members in kept for row in members], capacity, not capacity.one_per_backward)",
        f"{PLAN} -k split_by_length",
    ),
    # prompts that are computed once
    step(
        "a prompt that is shared costs nothing",
        "return saved - -(-saved // KEYS_SHARE)",
        "return saved",
        f"{PLAN} -k memory",
    ),
    step(
        "prompts are shared however little that saves",
        "return saved if saved >= self.least * sum(self.lengths[row] for row in rows) else 0",
        "return saved",
        f"{PLAN} -k tenth",
    ),
    step(
        "groups are never cut between processes",
        "if sorted(new_loads, reverse=True) >= sorted(loads, reverse=True):",
        "if True:",
        f"{PLAN} -k one_group",
    ),
    step(
        "a rollout forks behind its whole prompt",
        "cut = len(prompt) - 1 if len(family) > 1 else 0",
        "cut = len(prompt) if len(family) > 1 else 0",
        PREFIXES,
    ),
    step(
        "positions restart behind a prefix",
        "torch.arange(start, start + length) for start, length",
        "torch.arange(length) for start, length",
        PREFIXES,
    ),
    step(
        "a rollout does not see its prefix",
        "torch.cat([tensors[prefix], tensors[segment]], dim=2) for tensors",
        "torch.cat([tensors[prefix][:, :, :0], tensors[segment]], dim=2) for tensors",
        f"{PREFIXES} -k as_if_alone",
    ),
    step(
        "a rollout sees the token after the next",
        ".triu(self._longest + 1)",
        ".triu(self._longest + 2)",
        f"{PREFIXES} -k as_if_alone",
    ),
    step(
        "every segment has the mask of the longest prefix",
        "self._longest - prefix : self._longest + length]",
        ": prefix + length]",
        f"{PREFIXES} -k as_if_alone",
    ),
    step(
        "on CUDA the first token of a rollout sees the first of its prefix alone",
        "return causal_lower_right(length, prefix + length)",
        "return None",
        f"{PREFIXES} -k 'outputs_and_gradient and CUDA'",
    ),
    step(
        "autocast does not reach the attention behind prefixes",
        "if torch.is_autocast_enabled(kind := query.device.type):",
        "if False:",
        f"{PREFIXES} -k 'outputs_and_gradient and CUDA'",
    ),
    step(
        "FlashAttention gets the keys of a prefix behind those of its rollout",
        "[parts[of], parts[at]]",
        "[parts[at], parts[of]]",
        f"{FLASH} -k as_if_alone",
    ),
    step(
        "FlashAttention is not told where rows end, where prompts are shared",
        "is_flash(config._attn_implementation)",
        'config._attn_implementation.startswith("flash")',
        f"{FLASH} -k trains",
    ),
    step(
        "the balance loss of a rollout leaves out its prefix",
        "torch.cat([*begin, parts[at]])",
        "parts[at]",
        f"{PREFIXES} -k values",
    ),
    step(
        "the attention is not told of prefixes",
        "if isinstance(batch, SharedBatch):",
        "if False:",
        "tests/trainer/test_savings.py -k 'something and once'",
    ),
    step(
        "other layers do not matter for shared prompts",
        'if window or set(kinds or ()) - {"full_attention"}:',
        "if window:",
        f"{PREFIXES} -k settings",
    ),
    # choice
    step(
        "layers that are no attention do not matter",
        'set(getattr(config, "layer_types", None) or []) - ATTENTION',
        "set()",
        f"{PACKING} -k told_by_their_settings",
    ),
    step(
        "an adapter that was not tried is packed",
        "not in BY_TOKEN:",
        "in ():",
        f"{PACKING} -k adapter",
    ),
    step(
        "pack_rollouts=True does not mind the model",
        "if self.settings.pack_rollouts and reason:",
        "if False:",
        f"{PACKING} -k impossible",
    ),
    step(
        "share_prompts=True does not mind that forwards are padded",
        "elif self.why_padded:",
        "elif False:",
        f"{PREFIXES} -k said_by_name",
    ),
    step(
        "images beside a packed forward are no matter",
        "if self.packs and not any(map(_has_images, [*rollouts, *beside])):",
        "if self.packs:",
        "tests/drop_in/test_images.py -k until_some",
    ),
    step(
        "rows are packed without a trial",
        "self.packs = False if self.why_padded else None",
        "self.packs = not self.why_padded",
        f"{PACKING} -k found_out",
    ),
    step(
        "a resumed run tries its layout again",
        "layout = checkpoint.get(LAYOUT, {})",
        "layout = {}",
        f"{TRIAL} -k keeps_its_layout",
    ),
    step(
        "a padded run is packed after resuming",
        "(packed or (packed is False and not self.settings.pack_rollouts))",
        "packed",
        f"{TRIAL} -k stays_padded",
    ),
    step(
        "the trial's verdict is not gathered",
        "passes(self._gather([totals.tolist()]))",
        "passes(totals[None])",
        f"{TWO} -k all_pad",
    ),
    step(
        "dropout is on in the trial, and activations are recomputed",
        "model.eval()\n        try:",
        "try:",
        "tests/engines/test_checkpointing.py -k without_it",
    ),
    # trial
    step("a trial always passes", f"return {PASSES}", "return True", f"{TRIAL} -k rounding_steps"),
    step(
        "a trial passes with NaN",
        PASSES,
        PASSES.replace("(change", "not (change").replace("<=", ">"),
        f"{TRIAL} -k rounding_steps",
    ),
    step(
        "a layout may change no more than one rounding step does",
        "ROUNDINGS * (rounding / tokens)",
        "(rounding / tokens)",
        f"{TRIAL} -k rounding_steps",
    ),
    step(
        "a layout that changes nothing but the last digit fails",
        "<= max(FLOOR, ",
        "<= max(0.0, ",
        f"{TRIAL} -k rounding_steps",
    ),
    step(
        "rounding is not measured",
        "with perturbed(embedding):",
        "if True:",
        f"{TRIAL} -k rounding_is_measured",
    ),
    step(
        "a rounding step under autocast is that of float32",
        "if torch.is_autocast_enabled(kind):\n        return torch.finfo",
        "if False:\n        return torch.finfo",
        f"{TRIAL} -k matrix_products",
    ),
    step("the better order of the rows decides", "worst = max(", "worst = min(", f"{TRIAL} -k compared_rows"),
    step(
        "NaN in the second order of the rows is overlooked",
        "total.nan_to_num(torch.inf).item()",
        "total.item()",
        f"{TRIAL} -k compared_rows",
    ),
    step(
        "what a layout makes of the padding counts",
        "change.square().where(mask != 0, 0.0).sum()",
        "change.square().sum()",
        f"{TRIAL} -k compared_rows",
    ),
    step(
        "packed rows are compared with packed rows",
        "[self._logps(pack_rollouts, rows), behind], pad_rollouts, rows",
        "[self._logps(pack_rollouts, rows), behind], pack_rollouts, rows",
        f"{PACKING} -k forgotten",
    ),
    step(
        "rows are packed in one order alone",
        "[self._logps(pack_rollouts, rows), behind], pad_rollouts, rows",
        "[self._logps(pack_rollouts, rows)], pad_rollouts, rows",
        f"{TRIAL} -k 'neighbor or boundaries'",
    ),
    step(
        "the trial's row is shorter than the window",
        "slides = window is not None and counted[-1].length > window",
        "slides = False",
        f"{PACKING} -k forgotten",
    ),
    step(
        "a copy is packed beside its original",
        "(row for row in counted if not is_copy(row))",
        "(row for row in counted if row is not probe)",
        f"{TRIAL} -k no_copies",
    ),
    step(
        "prompts are shared without a trial",
        "[self._logps(share_prompts, rows)], pack_rollouts, rows",
        "[self._logps(pack_rollouts, rows)], pack_rollouts, rows",
        f"{PREFIXES} -k found_out",
    ),
    # attention
    step(
        "attention of the recomputed forward is over all rows",
        "return self.forwards.attention(batch.batches[0])",
        "return self.forwards.accelerator.autocast()",
        f"{PACKING} -k recomputes",
    ),
    step(
        "SDPA forgets the window",
        "_sees(query, sliding_window)[None, None] if slides else None",
        "None",
        f"{PACKING} -k window",
    ),
    step(
        "a window is one token wider",
        "sees.triu(1 - sliding_window)",
        "sees.triu(-sliding_window)",
        f"{PACKING} -k window",
    ),
    step(
        "kernels of other layers do not learn where rows end",
        'boundaries["seq_idx"] = rows',
        'boundaries["rows"] = rows',
        "tests/step/test_hybrids.py",
    ),
    step(
        "packed rows are one row to SDPA",
        "zip(*(tensor.split(row_lengths, dim=2) for tensor in tensors), strict=True)",
        "[tensors]",
        f"{PACKING} -k as_if_alone",
    ),
    # layouts
    step(
        "positions do not restart with a row",
        "torch.cat([torch.arange(length) for length in lengths])[None]",
        "torch.arange(sum(lengths))[None]",
        LAYOUT,
    ),
    step(
        "a masked token is predicted",
        "rollout.completion_ids.masked_fill(rollout.mask == 0, IGNORED)",
        "rollout.completion_ids.clone()",
        LAYOUT,
    ),
    step(
        "a token is read one position late",
        "len(rollout.prompt_ids) - 1 for rollout in rollouts",
        "len(rollout.prompt_ids) for rollout in rollouts",
        LAYOUT,
    ),
    step(
        "fillers' padding is not zero",
        "values.flatten()[self.columns].masked_fill(self.mask == 0, 0.0)",
        "values.flatten()[self.columns]",
        LAYOUT,
    ),
    step(
        "rows are padded on the left",
        'pad(tensors, value, "right", pad_to_multiple_of)',
        'pad(tensors, value, "left", pad_to_multiple_of)',
        LAYOUT,
    ),
    step(
        "the padding is attended to",
        "right([torch.ones_like(_ids(rollout)) for rollout in rollouts], 0)",
        "right([torch.ones_like(_ids(rollout)) for rollout in rollouts], 1)",
        LAYOUT,
    ),
    step(
        "virtual tokens shift what a padded row predicts",
        "values[:, 1 - self.input_ids.size(1) :]",
        "values[:, : self.input_ids.size(1) - 1]",
        LAYOUT,
    ),
    step(
        "a rollout without old log-probabilities has zeros",
        "elif rollout.row is not None:",
        "elif False:",
        LAYOUT,
    ),
    # positions
    step(
        "packed rows on both sides of a limit share a forward",
        "return long, [row for row in rows if not self._is_long(row)]",
        "return [], rows",
        "tests/step/test_positions.py -k both_sides",
    ),
    step(
        "padded rows on both sides of a limit share a forward",
        "if shorter or self._is_long(row) != self._is_long(rows[starts[-1]]):",
        "if shorter:",
        f"{PLAN} -k both_sides",
    ),
    step(
        "rows beyond a dynamic limit are run",
        "if self.refuses_longer and length > self.length:",
        "if False:",
        "tests/step/test_positions.py -k too_long",
    ),
]
