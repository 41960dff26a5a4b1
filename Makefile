# `make demo` and `make test` need nothing but Python 3.10 or newer; they build .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

export HF_HUB_OFFLINE ?= 1
export HF_DATASETS_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
export OMP_NUM_THREADS ?= 1

.PHONY: demo test exhaustive quick lint docs package clean

demo: $(READY)
	$(BIN)/python -m lmms_causal.demo

test: $(READY) lint
	$(BIN)/python -m pytest -n 2 -m "not exhaustive"

exhaustive: $(READY)
	$(BIN)/python -m pytest -n 2

quick: $(READY)
	$(BIN)/python -m pytest -n 2 -m "not slow and not exhaustive"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy lmms_causal tasks interventions kernels

docs: $(READY)
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(READY): setup.cfg pyproject.toml constraints.txt
	@echo 'Installing into $(VENV); torch is large, this takes some minutes the first time.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info runs
