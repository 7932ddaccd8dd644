"""Is a final answer right? Judged by math-verify in processes that can be killed, within limits on time and memory."""
