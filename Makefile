# Every target works in a fresh clone: it first makes .venv and installs what it needs there.
# Stamp files in .venv remember what is installed; a change of pyproject.toml or constraints.txt installs again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported, when it first is; compiling everything beforehand takes a third of the installation.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile
# One process for each core, and no more than four, because each of them loads torch. Each begins with a part of the
# tests in their order, so that most sandboxes, browsers and courses are started once; who is done takes from the others.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal
# Slow tests often wait, for kernels, browsers and time limits, so one process more than there are cores runs them.
ONE_MORE = $(shell $(BIN)/python -c "import os; print(min(os.cpu_count() or 1, 3) + 1)")
SLOW_PYTEST = $(BIN)/python -m pytest -n $(ONE_MORE) --dist worksteal

.PHONY: help demo notebooks notebooks-check book pdf dist recordings test test-slow test-nightly test-all test-torch
.PHONY: lint format constraints clean

help:
	@echo "make demo             train, sample and score all ten chapters at the quick budget"
	@echo "make notebooks        write solutions/ and exercises/ from the records of the exercises"
	@echo "make notebooks-check  say which of them are stale; the tests do so too"
	@echo "make book             build the book to _build/html; a warning is an error"
	@echo "make pdf              print the built book to _build/book.pdf with Chromium"
	@echo "make dist             build wheel and source archive, with the book in the wheel, and check them"
	@echo "make recordings       run the experiments that the book shows, about an hour, and write book/recorded/"
	@echo "make test             the fast tests; those on real data too if DIFFUSION_LAB_DATA is set"
	@echo "make test-slow        the slow tests"
	@echo "make test-nightly     what repeats other tests on more chapters, seeds and pages; about as long as the slow ones"
	@echo "make test-all         all tests"
	@echo "make test-torch TORCH=2.6  the fast tests with another torch, in an environment of its own"
	@echo "make lint             check style, format and spelling"
	@echo "make format           format the code and repair what the linter can"
	@echo "make constraints      bring constraints.txt in line with pyproject.toml"
	@echo "make clean            remove .venv, caches and build products; runs/ stays"

demo: $(VENV)/.installed
	$(BIN)/diffusion-lab run all --budget quick

notebooks: $(VENV)/.installed-test
	$(BIN)/python scripts/build_notebooks.py

notebooks-check: $(VENV)/.installed-test
	$(BIN)/python scripts/build_notebooks.py --check

book: $(VENV)/.installed-book
	$(BIN)/jupyter-book build -W -n --keep-going book

pdf: $(VENV)/.installed-test book
	$(BIN)/python scripts/print_book.py

dist: book
	$(PIP_INSTALL) --quiet --constraint constraints.txt build check-wheel-contents twine
	rm -rf build dist
	DIFFUSION_LAB_BOOK="$(CURDIR)/_build/html" $(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

recordings: $(VENV)/.installed
	$(BIN)/python scripts/record_experiments.py

test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-test
	$(SLOW_PYTEST) -m "slow and not nightly"

test-nightly: $(VENV)/.installed-test
	$(SLOW_PYTEST) -m nightly

test-all: $(VENV)/.installed-test
	$(PYTEST)

# Each torch has its own environment, several gigabytes with CUDA's libraries: .venv-torch-2.6 and so on.
test-torch: OWN = .venv-torch-$(TORCH)
test-torch: $(VENV)/.created
	@test -n "$(TORCH)" || { echo "Say which: make test-torch TORCH=2.6" >&2; exit 1; }
	test -d $(OWN) || $(PYTHON) -m venv $(OWN)
	$(BIN)/python scripts/torch_set.py $(TORCH) > $(OWN)/constraints.txt
	$(OWN)/bin/python -m pip install --disable-pip-version-check --constraint $(OWN)/constraints.txt --editable ".[test]"
	$(OWN)/bin/python -m pytest -n logical --maxprocesses 4 -m "not slow" $(TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# uv resolves for every platform and Python at once, and keeps each old pin that still fits.
# The CUDA libraries are left out: torch itself pins them where it needs them.
constraints: $(VENV)/.created
	$(PIP_INSTALL) --quiet "uv>=0.8"
	$(BIN)/uv pip compile --quiet --no-python-downloads --universal --python-version 3.10 --all-extras --no-annotate \
		--custom-compile-command "make constraints" pyproject.toml --output-file constraints.txt
	sed -i.old -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton=/d' constraints.txt
	rm constraints.txt.old

clean:
	rm -rf $(VENV) _build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c "" || { echo "'$(PYTHON)' does not run. Install Python 3.10 or newer," \
		"or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed;" \
		"'$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "'$(PYTHON) -m venv' failed." \
		"On Debian and Ubuntu it is a package of its own: sudo apt install python3-venv" >&2; exit 1; }
	@$(PIP_INSTALL) --quiet "pip>=22.3"
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-book: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) --constraint constraints.txt --editable ".[book]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) --constraint constraints.txt --editable ".[test]"
	@touch $(VENV)/.installed $(VENV)/.installed-book $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) --constraint constraints.txt --editable ".[dev]"
	@touch $(VENV)/.installed $(VENV)/.installed-book $(VENV)/.installed-test $@
