from unit_tests import passes

from trl_real.rewards import pooled


passes_in_time = pooled(passes, timeout=5, workers=8)
