"""
Methods compared on one recipe, over learning rates and seeds: the parts of `trl-real compare`.

In: a recipe, methods, rates and seeds, or a YAML file of such studies. Out: the runs to train and, from the record of
each run, tables with intervals, figures and a verdict. Left out: training (`trl_real.cli.compare_run`).
"""
