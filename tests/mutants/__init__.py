"""
Mutants: single lines of the core broken on purpose, each with the tests that must notice.

In: the tables of this folder. Out: which mutants survive (`make mutants`, docs/mutants.md).
Left out: mutants at random. Of these folders cosmic-ray makes 3,684, each with a process of its own that has to load
TRL, and no change of an operator or a constant says "not gathered over the processes" or "a full step's groups".
"""

from .mutant import Mutant
from .table_engines import MUTANTS as ENGINES
from .table_layouts import MUTANTS as LAYOUTS
from .table_objective import MUTANTS as OBJECTIVE
from .table_step import MUTANTS as STEP
from .table_trainer import MUTANTS as TRAINER


ALL: list[Mutant] = [*OBJECTIVE, *STEP, *LAYOUTS, *TRAINER, *ENGINES]
