"""Methods compared on one recipe, over learning rates and seeds: the parts of `trl-real compare`."""
