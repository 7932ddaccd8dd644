"""
Is a final answer right? Judged by math-verify in processes that can be killed.

In: accepted answers and the text of a completion. Out: a verdict for each, within limits on time and memory.
Left out: the reward of a verdict (`rewards`), and which answers are accepted (`data`).
"""
