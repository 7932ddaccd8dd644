"""The real language model of the tests, written once for all test processes."""

from pathlib import Path

from filelock import FileLock

from tests.support.folders import of_all_processes
from trl_real.cli.recipes import main


def written_once(base: Path) -> Path:
    """
    The folder of SmolLM2-135M-Instruct.

    Args:
        base (`Path`):
            `tmp_path_factory.getbasetemp()`.
    """
    common = of_all_processes(base)
    with FileLock(common / "smollm2.lock"):
        folder = common / "SmolLM2-135M-Instruct"
        if not folder.exists():
            main(["model", "--output_dir", str(folder)])
    return folder
