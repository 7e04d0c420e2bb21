# `make demo` and `make test` need Python ≥ 3.11 with venv, and make; nothing else by hand.
PYTHON ?= python3
# e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" (see constraints.txt)
PIP_FLAGS ?=
BIN := .venv/bin
PEERS := .venv-peers/bin

.PHONY: demo test lint tables bench-training bench-prediction bench-measures clean

demo: .venv/.installed
	$(BIN)/septum demo --out demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/tables.py --check

# The tables in README and docs, from docs/results/*.json.
tables: .venv/.installed
	$(BIN)/python docs/tables.py

# Training beside its peers', on an otherwise idle machine; downloads the peers first.
bench-training: .venv-peers/.installed
	$(PEERS)/python benchmarks/training_peers.py
	$(PEERS)/python docs/tables.py

# Prediction likewise; e.g. MODEL=runs/em-quick, or a network is trained for a minute.
bench-prediction: .venv-peers/.installed
	$(PEERS)/python benchmarks/prediction_peers.py $(if $(MODEL),--model $(MODEL))
	$(PEERS)/python docs/tables.py

# The measures beside those of other libraries.
bench-measures: .venv-peers/.installed
	$(PEERS)/python benchmarks/measures.py
	$(PEERS)/python docs/tables.py

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "septum needs Python 3.11 or later: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	touch $@

# Septum first, with the pinned torch, so that no peer brings another one. The wheel of elasticdeform
# was made for NumPy 1; without isolation its source is compiled against the NumPy that is there.
.venv-peers/.installed: benchmarks/peers.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt setuptools -e '.[cluster]'
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt --no-build-isolation -r benchmarks/peers.txt
	touch $@

clean:
	rm -rf .venv .venv-peers build dist src/septum.egg-info
