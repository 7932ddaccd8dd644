"""Which checkpoint of a folder is complete, how one appears and what an interrupted save leaves."""

import json
import shutil
from pathlib import Path

import pytest

from trl_real.checkpoints import folders
from trl_real.checkpoints.folders import ASIDE, check_complete, missing_part, newest_complete, publish, tidy


ONE_PROCESS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
LAYOUTS = {
    "one process": ONE_PROCESS,
    "adapter": ("adapter_model.safetensors", *ONE_PROCESS[1:]),
    "two adapters": ("policy/adapter_model.safetensors", "adapter_config.json", *ONE_PROCESS[1:]),
    "DDP": (*ONE_PROCESS[:3], "rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"),
    "ZeRO-3": (
        "global_step4/zero_pp_rank_0_mp_rank_00_model_states.pt",
        "global_step4/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "latest",
        "rng_state_0.pth",
        "trainer_state.json",
    ),
    "FSDP2": (
        "pytorch_model_fsdp_0/__0_0.distcp",
        "optimizer_0/__0_0.distcp",
        "scheduler.pt",
        "rng_state_0.pth",
        "trainer_state.json",
    ),
}


def write(folder: Path, names: tuple[str, ...] = ONE_PROCESS, text: str = "{}") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_is_complete_in_every_layout_and_not_without_any_part(tmp_path: Path, layout: str) -> None:
    checkpoint = write(tmp_path / "checkpoint-4", LAYOUTS[layout])
    assert missing_part(checkpoint) is None
    for top in {name.partition("/")[0] for name in LAYOUTS[layout]} - {"adapter_config.json"}:
        broken = tmp_path / f"without-{top}"
        shutil.copytree(checkpoint, broken)
        shutil.rmtree(broken / top, ignore_errors=True)
        (broken / top).unlink(missing_ok=True)
        others = [name for name in LAYOUTS[layout] if name.startswith("rng_state_") and name != top]
        # How many processes there were, nothing says
        assert (missing_part(broken) is None) == bool(top.startswith("rng_state_") and others), top


def test_a_shard_an_empty_file_and_a_save_that_was_cut_short_are_found(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-4", ("model-1-of-2.safetensors", *ONE_PROCESS[1:]))
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert missing_part(checkpoint) == "model-2-of-2.safetensors"
    write(checkpoint, ("model-2-of-2.safetensors", "checkpoint-is-incomplete.txt"))
    assert missing_part(checkpoint) == "the end of a save at SIGTERM"
    (checkpoint / "checkpoint-is-incomplete.txt").unlink()
    (checkpoint / "optimizer.pt").write_text("")
    assert missing_part(checkpoint) == "what is in optimizer.pt"
    for cut_off in ("", '{"global_step": 4, "log_hi'):
        (checkpoint / "trainer_state.json").write_text(cut_off)
        assert missing_part(checkpoint) == "trainer_state.json"


def test_a_run_that_saves_the_model_alone_needs_no_optimizer(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, ("model.safetensors", "trainer_state.json"))
    assert missing_part(checkpoint) == "optimizer.pt"
    assert missing_part(checkpoint, only_model=True) is None


def test_the_newest_complete_checkpoint_is_found_by_its_number(tmp_path: Path) -> None:
    for step in (8, 12, 100):
        write(tmp_path / f"checkpoint-{step}")
    for step in (100, 1000):
        write(tmp_path / f"checkpoint-{step}")
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").unlink()
    write(tmp_path / "checkpoint-5000x")
    write(tmp_path / "checkpoint-6000").rename(tmp_path / ASIDE)
    complete, skipped = newest_complete(tmp_path)
    assert complete == tmp_path / "checkpoint-12"
    assert skipped == [f"{tmp_path}/checkpoint-{step} is incomplete (optimizer.pt is missing)" for step in (1000, 100)]
    assert newest_complete(tmp_path / "nowhere") == (None, []) and tidy(tmp_path / "nowhere") == []


def test_a_named_checkpoint_that_is_incomplete_is_refused_with_the_newest_complete_one(tmp_path: Path) -> None:
    broken, complete = write(tmp_path / "checkpoint-8"), write(tmp_path / "checkpoint-4")
    (broken / "trainer_state.json").unlink()
    check_complete(complete, tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint-8 is incomplete \(trainer_state.json .* Write .*checkpoint-4, "):
        check_complete(broken, tmp_path / "another")
    with pytest.raises(
        ValueError, match="there is no folder elsewhere. Write .*checkpoint-4, the newest complete one"
    ):
        check_complete("elsewhere", tmp_path)
    shutil.rmtree(complete)
    with pytest.raises(ValueError, match="is missing.. Omit it to start from scratch"):
        check_complete(broken, tmp_path)


def test_a_checkpoint_appears_at_once_in_place_of_an_older_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-4", ("checkpoint-is-incomplete.txt",))
    aside = write(tmp_path / ASIDE / "checkpoint-4", text="new")
    publish(aside, tmp_path / "checkpoint-4")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]
    assert {path.name: path.read_text() for path in (tmp_path / "checkpoint-4").iterdir()} == dict.fromkeys(
        ONE_PROCESS, "new"
    )


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_replacing_never_loses_both_checkpoints(tmp_path: Path, moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before the first rename, between the two, and before the removal of the old one."""

    class Killed(BaseException):
        pass

    def end(*args: object, **kwargs: object) -> None:
        raise Killed

    replace, done = folders.os.replace, []

    def counted(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise Killed
        done.append(target)
        replace(source, target)

    write(tmp_path / "checkpoint-4", text='"old"')
    aside = write(tmp_path / ASIDE / "checkpoint-4", text='"new"')
    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "replace", counted)
        patch.setattr(folders.shutil, "rmtree", end)
        with pytest.raises(Killed):
            publish(aside, tmp_path / "checkpoint-4")
    assert tidy(tmp_path) == ["checkpoint-4"] * (moves < 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]
    assert (tmp_path / "checkpoint-4" / "optimizer.pt").read_text() == ('"new"' if moves == 2 else '"old"')
