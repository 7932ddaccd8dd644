"""The real language model of the tests, written once for all test processes."""

from pathlib import Path

from filelock import FileLock

from trl_real.cli.recipes import main


def written_once(base: Path) -> Path:
    """
    The folder of SmolLM2-135M-Instruct.

    Args:
        base (`Path`):
            `tmp_path_factory.getbasetemp()` of this process; where there are several, the folder above is common.
    """
    common = base.parent if base.name.startswith("popen-") else base
    with FileLock(common / "smollm2.lock"):
        folder = common / "SmolLM2-135M-Instruct"
        if not folder.exists():
            main(["model", "--output_dir", str(folder)])
    return folder
