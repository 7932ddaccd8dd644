"""
Is a final answer right? Judged by math-verify in processes that can be killed.

In: accepted answers and the text of a completion. Out: a verdict for each, within a bound in time and memory.
Left out: what a verdict is worth (`rewards`), and which answers are accepted (`data`).
"""
