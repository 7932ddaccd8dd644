"""What all processes of pytest share: their folder, and in it a real language model, written once."""

from pathlib import Path

from filelock import FileLock

from trl_real.cli.recipes import main


def of_all_processes(base: Path) -> Path:
    """The folder of one run of all tests, from `tmp_path_factory.getbasetemp()` of one of its processes."""
    return base.parent if base.name.startswith("popen-") else base


def written_once(base: Path) -> Path:
    """The folder of SmolLM2-135M-Instruct; `base` as above."""
    common = of_all_processes(base)
    with FileLock(common / "smollm2.lock"):
        folder = common / "SmolLM2-135M-Instruct"
        if not folder.exists():
            main(["model", "--output_dir", str(folder)])
    return folder
