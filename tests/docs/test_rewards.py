"""The reward functions of docs/guides/rewards.md, called on correct and incorrect answers, and one trained with."""

import asyncio
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.docs.pages import PAGES, ROOT
from tests.support.tiny import prompts_dataset
from tests.support.trainers import trainer
from trl_real.rewards import resolve_reward_func


FOLDER = ROOT / "docs/examples/rewards"
ANSWERS = [[{"role": "tool", "content": "42"}, {"role": "assistant", "content": f"It is {n}."}] for n in (42, 41)]
CASES = {  # a column and its values, completions, rewards
    "exact_match.exact_match": ("answer", [42, 42, None], ["So:\n42", "41", "42"], [1.0, 0.0, None]),
    "tested_in_time.passes_in_time": ("tests", ["assert x == 2"] * 3, ["x = 2", "x = 3", "x = "], [1.0, 0.0, 0.0]),
    "json_schema.follows_schema": ("schema", ['{"required": ["a"]}'] * 3, ['{"a": 1}', "{}", "a"], [1.0, 0.0, 0.0]),
    "pattern.matches": ("pattern", ["Answer: [A-D]"] * 2, ["Answer: B\n", "Answer: B or C"], [1.0, 0.0]),
    "tool_result.used_the_tool": ("result", [42] * 3, [*ANSWERS, ANSWERS[0][1:]], [1.0, 0.0, 0.0]),
}


class Judge(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": question.split("\n")[1]}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())


@pytest.mark.parametrize("path", CASES)
def test_a_reward_tells_correct_from_incorrect_answers(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    column, values, completions, rewards = CASES[path]
    assert resolve_reward_func(path)(completions=completions, **{column: values}) == rewards


def test_a_judge_grades_by_its_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    with HTTPServer(("127.0.0.1", 0), Judge) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("JUDGE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        grades = resolve_reward_func("judge.judged")(prompts=list("???"), completions=list("93x"))
        assert asyncio.run(grades) == [0.9, 0.3, None]
        server.shutdown()


def test_a_reward_trains_and_the_page_shows_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    data = prompts_dataset(8).map(lambda row: {"pattern": "w[0-9]*[02468]( .*)?"})
    trained = trainer(tmp_path, reward_funcs=resolve_reward_func("pattern.matches"), train_dataset=data)
    assert trained.train().global_step == 2 and "rewards/matches/mean" in trained.state.log_history[0]
    page = PAGES["docs/guides/rewards.md"]
    assert {f"`{path.name}`:\n\n```python\n{path.read_text()}```" in page for path in FOLDER.glob("*.py")} == {True}
