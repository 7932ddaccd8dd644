"""
Mutants: single lines of the core broken on purpose, each with the tests that must notice.

In: the tables of this folder. Out: which mutants survive (`make mutants`, docs/mutants.md).
Left out: mutants at random. mutmut and cosmic-ray change operators and constants; they cannot say "not gathered over
the processes" or "a full step's groups", and each of the thousands that they make would need a run of the trainer.
"""

from .mutant import Mutant
from .table_objective import MUTANTS as OBJECTIVE
from .table_trainer import MUTANTS as TRAINER
from .table_update import MUTANTS as UPDATE


ALL: list[Mutant] = [*OBJECTIVE, *UPDATE, *TRAINER]
