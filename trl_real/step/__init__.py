"""
The update phase: from the rewards of a generation to the loss of each micro-step.

In: models, an accelerator, settings, and for every generation its rollouts and labels. Out: the loss of every
micro-step, and metrics. Left out: TRL's trainer, which nothing in here knows; a script of 30 lines can run it
(docs/guides/update-phase.md).

In reading order: `rollouts`, `generation` (with `plan`, `sharing`), `choice` (with `obstacles`, `trial`), `layouts`,
`forwards` (with `attention`), `loss`, `metrics`; `update` puts them together.
"""
