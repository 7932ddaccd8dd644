def used_the_tool(completions, result, **kwargs):
    """1.0 if a tool returned the expected result and the final answer contains it."""
    rewards = []
    for messages, expected in zip(completions, result, strict=True):
        returned = [message["content"] for message in messages if message["role"] == "tool"]
        final = messages[-1]["content"] or ""
        rewards.append(float(str(expected) in returned and str(expected) in final))
    return rewards
