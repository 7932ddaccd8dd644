import json

from jsonschema import ValidationError, validate


def follows_schema(completions, schema, **kwargs):
    """1.0 if the completion is JSON that follows the schema; the column holds each schema as JSON text."""
    rewards = []
    for completion, wanted in zip(completions, schema, strict=True):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        try:
            validate(json.loads(text), json.loads(wanted))
            rewards.append(1.0)
        except (json.JSONDecodeError, ValidationError):
            rewards.append(0.0)
    return rewards
