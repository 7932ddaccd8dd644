"""
What the logs of Inspect say.

In: folders of logs, and what is asked. Out: which settings the samples were made with, so that none are mixed with
others, and the verdicts on all samples of a model and set. Left out: making them (`running.py`).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, read_eval_log, read_eval_log_samples

from ..verdicts import judge_samples


Verdict = dict[str, Any]
UNREAD = {
    "events",
    "events_data",
    "attachments",
    "messages",
    "store",
}  # of a sample, for there may be 10,000 long ones
ABOUT = "trl_real"  # what our part of a log's metadata is called


@dataclass(frozen=True)
class Logged:
    """
    The newest log of a model and a set.

    Args:
        header (`EvalLog`):
            Without its samples.
    """

    header: EvalLog

    @property
    def about(self) -> dict[str, Any]:
        """
        `set`, `title`, `samples`, `judge`, `training_data`, `sampling`, and for each problem a digest in `problems`
        and one of what this model reads in `prompts`.
        """
        return self.header.eval.metadata[ABOUT]

    @property
    def model(self) -> str:
        return self.about["sampling"]["model"]

    @property
    def set(self) -> str:
        return self.about["set"]

    @property
    def is_finished(self) -> bool:
        return self.header.status == "success"

    def has(self, about: dict[str, Any]) -> bool:
        """Whether it holds all samples that are asked for; they were made alike, as [`check_same`] has found."""
        enough = self.about["samples"] >= about["samples"] and len(self.about["problems"]) >= len(about["problems"])
        return self.is_finished and enough

    def verdicts(self, judge: dict[str, Any]) -> list[Verdict]:
        """
        The verdicts on all samples, by problem and number.

        Args:
            judge (`dict[str, Any]`):
                As in `trl_real.evaluation.verdicts`; samples that were judged by another rule are judged anew.
        """
        found, others, asked = [], [], []
        for sample in read_eval_log_samples(self.header.location, exclude_fields=UNREAD):
            verdict = sample.scores["verdict"].metadata
            if verdict["judge"] == judge:
                found.append(verdict)
            else:
                others.append(verdict | {"text": sample.output.completion})
                asked.append({"problem": verdict["problem"], **sample.metadata})
        found += judge_samples(others, asked, judge) if others else []
        return sorted(found, key=lambda verdict: (verdict["problem"], verdict["sample"]))


def find_logs(output: Path) -> list[Logged]:
    """The newest log of each model and set below a folder, the models in the order of their names."""
    newest: dict[tuple[str, str], Logged] = {}
    for path in sorted(output.rglob("*.eval")):
        header = read_eval_log(str(path), header_only=True)
        if ABOUT in (header.eval.metadata or {}):
            logged = Logged(header)
            newest[logged.model, logged.set] = logged
    return list(newest.values())


def remove_older(folder: Path) -> None:
    """Removes the logs of killed runs once a finished one holds their samples, too; nobody may be writing there."""
    newest = {logged.set: logged for logged in find_logs(folder) if logged.is_finished}
    for path in folder.glob("*.eval"):
        about = (read_eval_log(str(path), header_only=True).eval.metadata or {}).get(ABOUT, {})
        if about.get("set") in newest and str(path) != newest[about["set"]].header.location:
            path.unlink()


def digests(rows: Iterable[Any]) -> list[str]:
    """A word for each row, which tells it from others."""
    return [hashlib.blake2b(json.dumps(row).encode(), digest_size=4).hexdigest() for row in rows]


def check_same(logged: Logged, about: dict[str, Any]) -> None:
    """`ValueError` if samples in a log were made otherwise than those that are asked for now."""
    advice = "Go back to that, or choose another --output."
    folder = Path(logged.header.location).parent
    old, new = logged.about["sampling"], about["sampling"]
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            raise ValueError(
                f"{name}: the samples in {folder} were made with {old.get(name)!r}, now it is {new.get(name)!r}. "
                f"{advice}"
            )
    if logged.about["judge"] != about["judge"] and "reward_funcs" in logged.about["judge"] | about["judge"]:
        raise ValueError(f"config: the samples in {folder} were judged by other rewards. {advice}")
    for name in ("problems", "prompts"):
        pairs = zip(logged.about[name], about[name], strict=False)
        changed = next((number for number, (former, now) in enumerate(pairs) if former != now), None)
        if changed is not None:
            raise ValueError(
                f"problem {changed}: its samples in {folder} were made with another prompt or another answer. The "
                "problems or the chat template have changed; choose another --output."
            )
