"""The store of samples: what is missing, what a kill or a full disk leaves, what cannot be mixed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.full_disk import longest_file
from trl_real.evaluation.sampling.store import Chunk, SampleStore, SampleWriter, find_stores, prepare_stores
from trl_real.evaluation.sampling.writing import NoSpace


SAMPLING = {"model": "m", "weights": "abc", "temperature": 0.6, "seed": 0}


def settings(samples: int = 2, **sampling: Any) -> dict[str, Any]:
    return {"set": "s", "title": "S", "samples": samples, "judge": {}, "sampling": SAMPLING | sampling}


def problems(count: int, first: int = 1) -> list[dict[str, Any]]:
    """Prompts of 1, 2, 3, ... tokens."""
    prompts = [[first] * (number + 1) for number in range(count)]
    return [{"problem": number, "prompt": "p", "prompt_ids": ids, "columns": {}} for number, ids in enumerate(prompts)]


def make_store(folder: Path, count: int = 3, samples: int = 2, **sampling: Any) -> SampleStore:
    return prepare_stores([(folder / "m" / "s", settings(samples, **sampling), problems(count))])[0]


def fill(store: SampleStore, chunks: list[Chunk], rank: int = 0) -> None:
    writer = SampleWriter(store, rank)
    for chunk in chunks:
        writer.write(
            [{"problem": problem, "sample": sample, "text": str(chunk.seed)} for problem, sample in chunk.keys]
        )
    writer.close()


def test_the_longest_prompts_come_first_and_samples_of_a_problem_stay_together(tmp_path: Path) -> None:
    chunks = make_store(tmp_path).missing(4)
    assert [chunk.keys for chunk in chunks] == [((2, 0), (2, 1), (1, 0), (1, 1)), ((0, 0), (0, 1))]
    assert len({chunk.seed for chunk in chunks}) == 2


def test_seeds_depend_on_the_seed_and_the_set_but_not_on_the_model(tmp_path: Path) -> None:
    def seeds(folder: str, name: str = "s", **sampling: Any) -> list[int]:
        about = settings(**sampling) | {"set": name}
        return [chunk.seed for chunk in prepare_stores([(tmp_path / folder, about, problems(3))])[0].missing(2)]

    assert seeds("a") == seeds("b", model="other")
    assert not set(seeds("a")) & set(seeds("c", seed=1))
    assert not set(seeds("a")) & set(seeds("d", name="t"))


@pytest.mark.parametrize("done", [[0], [1], [2], [0, 2], [0, 1, 2]])
def test_what_is_there_is_not_missing_and_leaves_the_other_chunks_as_they_were(
    tmp_path: Path, done: list[int]
) -> None:
    store = make_store(tmp_path, count=5)
    chunks = store.missing(4)
    fill(store, [chunks[index] for index in done])
    assert store.missing(4) == [chunk for index, chunk in enumerate(chunks) if index not in done]
    assert len(store.lacking()) == 10 - len(store.samples())


def test_half_a_line_is_dropped_and_its_chunk_is_missing_again(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    chunks = store.missing(2)
    fill(store, chunks[:2])
    path = store.folder / "samples-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])  # all of the line but for its end
    assert store.missing(2) == chunks[1:]
    assert [sample["problem"] for sample in store.samples()] == [2, 2]
    fill(store, [])
    assert path.read_bytes() == whole[: whole.index(b"\n") + 1]
    fill(store, chunks[1:])
    assert path.read_bytes()[: len(whole)] == whole
    assert not store.missing(2)


def test_what_other_processes_wrote_counts(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    chunks = store.missing(2)
    fill(store, chunks[:1], rank=1)
    fill(store, chunks[2:], rank=0)
    assert store.missing(2) == [chunks[1]]
    keys = [(sample["problem"], sample["sample"]) for sample in store.samples()]
    assert keys == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_a_full_disk_keeps_the_chunks_before_and_nothing_of_the_one_that_does_not_fit(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    chunks = store.missing(2)
    fill(store, chunks[:1])
    size = (store.folder / "samples-0.jsonl").stat().st_size
    with longest_file(size + 20), pytest.raises(NoSpace, match=r"Could not write .*samples-0\.jsonl.*is kept"):
        fill(store, chunks[1:])
    assert (store.folder / "samples-0.jsonl").stat().st_size == size
    assert store.missing(2) == chunks[1:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"temperature": 1.0},
            r"temperature: the samples in .* were made with 0\.6, now it is 1\.0.*another --output",
        ),
        ({"weights": "xyz"}, "weights: .* were made with 'abc', now it is 'xyz'"),
        ({"top_p": 0.9}, "top_p: .* were made with None, now it is 0.9"),
    ],
)
def test_samples_of_other_settings_are_not_mixed_in(tmp_path: Path, changes: dict, message: str) -> None:
    make_store(tmp_path)
    with pytest.raises(ValueError, match=message):
        make_store(tmp_path, **changes)
    assert make_store(tmp_path).settings["sampling"] == SAMPLING


def test_one_store_that_cannot_be_gone_on_with_keeps_all_others_as_they_were(tmp_path: Path) -> None:
    make_store(tmp_path)
    clash = [(tmp_path / "n" / "s", settings(), problems(1)), (tmp_path / "m" / "s", settings(seed=1), problems(3))]
    with pytest.raises(ValueError, match="seed: "):
        prepare_stores(clash)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_samples_of_another_prompt_are_not_mixed_in(tmp_path: Path) -> None:
    make_store(tmp_path)
    with pytest.raises(ValueError, match="problem 0: its samples in .* were made with another prompt"):
        prepare_stores([(tmp_path / "m" / "s", settings(), problems(3, first=2))])


def test_two_sets_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="output: two models or two sets would share the folder .*/m/s; rename"):
        prepare_stores([(tmp_path / "m" / "s", settings(), problems(count)) for count in (1, 2)])
    assert not list(tmp_path.iterdir())


def test_more_samples_and_more_problems_keep_those_that_are_there(tmp_path: Path) -> None:
    fill(make_store(tmp_path), make_store(tmp_path).missing(4))
    more = make_store(tmp_path, count=4, samples=3)
    assert {key for chunk in more.missing(4) for key in chunk.keys} == {(0, 2), (1, 2), (2, 2), (3, 0), (3, 1), (3, 2)}
    fewer = make_store(tmp_path, count=2, samples=1)
    assert [(sample["problem"], sample["sample"]) for sample in fewer.samples()] == [(0, 0), (1, 0)]


def test_two_launches_cannot_write_the_same_file(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    writer = SampleWriter(store, 0)
    with pytest.raises(ValueError, match=r"output: another process is writing .*samples-0\.jsonl"):
        SampleWriter(store, 0)
    writer.close()
    SampleWriter(store, 0).close()


def test_a_line_that_holds_no_samples_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (store.folder / "samples-0.jsonl").write_text(json.dumps([]) + "\n\x00\x00\n")
    with pytest.raises(ValueError, match=r"output: line 2 of .*samples-0\.jsonl holds no samples"):
        store.missing(2)


def test_stores_are_found_below_the_output_folder(tmp_path: Path) -> None:
    make_store(tmp_path)
    assert [(store.model, store.set) for store in find_stores(tmp_path)] == [("m", "s")]
    assert find_stores(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file")
    with pytest.raises(ValueError, match="output: cannot make the folder .*/m/s: Not a directory"):
        make_store(tmp_path)
