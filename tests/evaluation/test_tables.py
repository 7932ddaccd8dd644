"""Numbers and tables of two models on two sets, worked out by hand."""

from typing import Any

import pytest

from trl_real.evaluation.results import Result, average, difference, make_result
from trl_real.evaluation.tables import COLUMNS, detail_table, difference_table, pass_table


def make_about(model: str, name: str, questions: str = "?") -> dict[str, Any]:
    about = {"model": model, "set": name, "title": name.upper(), "judge": {}, "training_data": []}
    return about | {"problems": questions}


def verdict(sample: int, correct: bool | None, **more: Any) -> dict[str, Any]:
    about = {"answer": "1", "timeout": False, "truncated": False}
    return {"correct": correct, "tokens": 10 * (sample - 1)} | about | more


def result(model: str, name: str, right: list[int], **options: Any) -> Result:
    """So many of 4 samples right for each problem."""
    places = [(problem, sample) for problem in range(1, len(right) + 1) for sample in range(1, 5)]
    verdicts = {(problem, sample): verdict(sample, sample <= right[problem - 1]) for problem, sample in places}
    return make_result(make_about(model, name, **options), verdicts, 4)


def test_the_numbers_of_a_set_are_means_over_its_problems() -> None:
    verdicts = {(1, k): verdict(k, k <= 2) for k in range(1, 5)}
    verdicts |= {(2, k): verdict(k, None, answer=None, timeout=k == 1, truncated=k < 4) for k in range(1, 5)}
    found = make_result(make_about("m", "s"), verdicts, 4)
    values = {name: estimate.value for name, estimate in found.estimates.items()}
    # the first problem has 2 of 4 right, the second none: pass@2 is (5/6 + 0) / 2
    wanted = {"pass@1": 0.25, "pass@2": 5 / 12, "pass@4": 0.5, "truncated": 3 / 8, "tokens": 15, "unjudged": 0.5}
    assert values == pytest.approx(wanted | {"no_answer": 0.5, "timeouts": 1 / 8})
    assert found.correct == [2, 0]
    # the four resamples of two problems: (0, 0), (0, 1), (1, 0), (1, 1)
    assert (found.estimates["pass@1"].low, found.estimates["pass@1"].high) == (0, 0.5)


def test_a_set_that_lacks_a_sample_has_no_numbers() -> None:
    verdicts = {(1, k): verdict(k, True) for k in range(1, 4)}
    with pytest.raises(ValueError, match="output: there are not 4 samples of each problem of s"):
        make_result(make_about("m", "s"), verdicts, 4)


def test_every_set_has_the_same_weight_in_the_average() -> None:
    large, small = result("m", "large", [4] * 30), result("m", "small", [0, 2])
    assert average([large, small]).value == pytest.approx((1 + 0.25) / 2)
    assert average([large, small]).low == pytest.approx(0.5)
    assert average([large, small]).high == pytest.approx((1 + 0.5) / 2)


def test_the_difference_is_taken_problem_by_problem() -> None:
    one, other = result("a", "s", [0, 4, 2, 1]), result("b", "s", [1, 4, 3, 2])
    found = difference([one], [other])
    # + 1/4 on three problems, 0 on the second
    assert found.value == pytest.approx(3 / 16)
    assert 0 <= found.low < found.value < found.high == pytest.approx(0.25)
    assert difference([one], [result("c", "s", [1, 4, 3, 2], questions="others?")]) is None
    assert difference([one], [result("d", "s", [1, 4, 3])]) is None


def test_the_tables_have_a_row_for_each_model_and_a_column_for_each_set() -> None:
    results = {
        "a": {"math500": result("a", "math500", [2, 2]), "aime24": result("a", "aime24", [0, 0])},
        "b": {"math500": result("b", "math500", [3, 3])},
    }
    assert pass_table(results).splitlines() == [
        "| Pass@1 | AIME24               | MATH500              | Avg.                 |",
        "| ------ | -------------------- | -------------------- | -------------------- |",
        "| a      | 0.000 [0.000, 0.000] | 0.500 [0.500, 0.500] | 0.250 [0.250, 0.250] |",
        "| b      | –                    | 0.750 [0.750, 0.750] | –                    |",
    ]
    [row] = difference_table(results).splitlines()[2:]
    assert row == "| b                     | –      | +0.250 [+0.250, +0.250] | –    |"
    details = [[cell.strip() for cell in line.split("|")[1:-1]] for line in detail_table(results).splitlines()]
    heads = "set, model, problems x samples, pass@1, pass@2, pass@4, truncated, no answer, tokens"
    assert details[0] == heads.split(", ")
    assert [row[:2] for row in details[2:]] == [["AIME24", "a"], ["MATH500", "a"], ["MATH500", "b"]]
    assert {row[2] for row in details[2:]} == {"2 x 4"}
    assert details[-1][3:] == ["0.750", "1.000", "1.000", "0.000", "0.000", "15"]
    assert difference_table({"a": results["a"]}) == ""


def test_the_papers_rows_stand_below_with_the_average_of_the_columns_shown() -> None:
    sets = {name: result("a", name, [4]) for name in ("math500", "aime24")}
    table = pass_table({"a": sets}, with_paper=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert ["REAL", "0.406", "0.877", "0.641"] in rows  # its two columns: (0.406 + 0.877) / 2
    assert ["REAL", "0.571", "0.929", "0.750"] in rows
    assert ["OpenAI-o1-Preview*", "0.400", "0.814", "0.607"] in rows
    assert "OpenAI" not in pass_table({"a": sets})
    own = pass_table({"a": {"own": result("a", "own", [4])}}, with_paper=True)
    assert "REAL" not in own and "Avg." not in own


def test_with_all_six_the_average_is_the_one_that_the_paper_prints() -> None:
    sets = {name: result("a", name, [4]) for name in COLUMNS}
    table = pass_table({"a": sets}, with_paper=True)
    averages = [line.split("|")[-2].strip() for line in table.splitlines() if line.startswith("| DS-Distill")]
    assert averages == ["0.376", "0.513"]  # the columns of the first give 0.3765
