"""
Mutants: single lines of the core broken on purpose, each with the tests that must notice.

`make mutants` writes into docs/mutants.md which of them survive. Each folder of the package has a table: after
`$`, the tests of the mutants below; after `!`, what is wrong with a mutant; after `-` and `+`, a text that occurs once
in the folder and its replacement; after `?`, why no test can notice.

Mutants at random are left out. Of these folders cosmic-ray makes 3,684, each with a process of its own that has to
load TRL, and no change of an operator or a constant means "not gathered over the processes".
"""

from pathlib import Path

from .mutant import Mutant, read_mutants


ALL: list[Mutant] = [mutant for path in sorted(Path(__file__).parent.glob("*.txt")) for mutant in read_mutants(path)]
