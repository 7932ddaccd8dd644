"""
The update phase: from the rewards of a generation to the loss of each micro-step.

Nothing in here knows TRL's trainer: a script of 30 lines can run it (docs/guides/update-phase.md). In reading order:
`rollouts`, `generation` (with `plan`, `sharing`), `choice` (with `obstacles`, `trial`), `layouts`, `forwards` (with
`attention`), `loss`, `metrics`; `update` puts them together.
"""
