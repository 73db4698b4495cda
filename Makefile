# Set-up, demo, tests. Every target makes what it needs; `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# FAISS: one of the extras cpu and gpu, never both; gpu where an NVIDIA driver answers.
FAISS ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

# Tests ask no hub and use a core each; what is imported is compiled once and not by each program that they start.
OFFLINE := PYTHONDONTWRITEBYTECODE= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1

.PHONY: demo test test-unit test-browser test-slow reproduce reproduce-smollm2 reproduce-gpu reproduce-gpu-carry results gpu gpu-carry lint format clean

demo: $(VENV)/run
	$(BIN)/searchapp demo --index indexes/python-stdlib

test: $(VENV)/dev
	$(OFFLINE) $(BIN)/python -m pytest -q -n 2 --dist loadfile

# The tests that need no more than a minute.
test-unit: $(VENV)/dev
	$(OFFLINE) $(BIN)/python -m pytest -q -n 2 --dist loadfile \
		-m 'not integration and not slow and not gpu and not browser'

# The page of `searchapp serve` in Chromium, which is installed where apt can; where it is not to be had they are skipped.
test-browser: $(VENV)/browser
	@command -v chromium >/dev/null 2>&1 || { apt-get update && apt-get install -y chromium; } >/dev/null 2>&1 || true
	$(OFFLINE) $(BIN)/python -m pytest -q -rs -m browser tests/browser

test-slow: $(VENV)/dev
	$(OFFLINE) $(BIN)/python -m pytest -q -m slow

# docs/reproduction.md: a small decoder from nothing, then the paper's ablation; needs DATA, takes about 2.5 hours.
DATA ?= ../shared/data
reproduce: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python training/bundled.py --data $(DATA) --work runs/base \
		--tokenizer searchapp/models/bundled --stop-after causal
	OMP_NUM_THREADS=1 $(BIN)/python training/reproduce.py --data $(DATA) --base runs/base/causal
	$(BIN)/python training/report.py

# The same ablation on SmolLM2-135M, the most telling cells first; BASE is its checkpoint. What is there is kept.
BASE ?= runs/smollm2-135m
MINUTES ?= 60
reproduce-smollm2: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m training.reproduction --base $(BASE) --data $(DATA) next --minutes $(MINUTES)

# docs/results.md: vectors, BM25 and both on every collection below DATA; a few minutes of one core.
COLLECTIONS := $(addprefix retrieval/,scifact cranfield npl med cacm checkthat2020 xquad-en) \
	$(addprefix rerank/,wikiqa trecqa semeval-cqa-b semeval-cqa-a)
results: $(VENV)/dev
	@for name in $(COLLECTIONS); do test -d $(DATA)/$$name || echo "skipped: $(DATA)/$$name is not there"; done
	$(if $(wildcard $(DATA)/retrieval/*/),OMP_NUM_THREADS=1 $(BIN)/searchapp evaluate retrieval \
		$(wildcard $(DATA)/retrieval/*/) --hybrid --cache runs/results --markdown docs/results.md)
	$(if $(wildcard $(DATA)/rerank/*/),OMP_NUM_THREADS=1 $(BIN)/searchapp evaluate rerank \
		$(wildcard $(DATA)/rerank/*/) --hybrid --markdown docs/results.md)

# docs/gpu.md: all that is asked of a GPU, in nine minutes. With the PyTorch that $(PYTHON) has: nothing is installed.
DEVICE ?= cuda
SHAPES ?= full
OUT ?= runs/gpu
gpu:
	$(PYTHON) -m benchmarks.gpu run --device $(DEVICE) --shapes $(SHAPES) --out $(OUT) $(addprefix --part ,$(PART))

# What a GPU machine without a network lacks, gathered in .gpu/ and listed with sizes.
gpu-carry:
	$(PYTHON) -m benchmarks.gpu carry $(addprefix --python-version ,$(PYTHON_VERSION))

# What is missing of `make reproduce-smollm2`, on a GPU in nine minutes; what was made stays in runs/gpu-reproduction.
reproduce-gpu:
	$(MAKE) gpu PART=reproduction

# BASE and DATA as parts of 48 MiB in .gpu/reproduction: each travels on its own, with `make gpu-carry`'s folder.
reproduce-gpu-carry: $(VENV)/dev
	$(BIN)/python -m training.reproduction --base $(BASE) --data $(DATA) pack

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "searchapp needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(FAISS),files]'
	@touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(FAISS),dev]'
	@touch $@ $(VENV)/run

$(VENV)/browser: $(VENV)/dev
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[browser]' && touch $@ || echo "Playwright is not to be had"

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
