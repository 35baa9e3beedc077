# kdlab. `make` alone lists the targets; every target installs what it needs, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread per process where two run side by side: OpenMP threads of both slow each other up to a hundredfold.
test check: export OMP_NUM_THREADS := 1
# Where bytecode may not be kept, every worker rewrites all tests and every process compiles kdlab (make clean removes it).
test: export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install quickstart test check format bench gradients pictures studies lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with .venv/bin/kdlab, every version as constraints.txt pins it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=/path/to/python3.11)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(STAMP) ## teachers, students, twins, controls on real digits; ends with a report to look at
	$(BIN)/kdlab sweep quickstart
	$(BIN)/kdlab report quickstart

test: $(STAMP) ## the tests but for the long ones (make bench has them): no network, no GPU, under 6 minutes on 2 cores
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long" -q tests

check: $(STAMP) ## ruff, ruff format, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## measure the speed table into reports/benchmarks (half an hour), then what is too long for make test
	$(BIN)/python tests/benchmarks/speed.py $(FIGURES)
	$(BIN)/python -m pytest -q -s tests/benchmarks/bench_*.py
	$(BIN)/python -m pytest -q -m long tests

gradients: $(STAMP) ## how large the soft targets' gradient is at each temperature, into reports/gradients
	$(BIN)/python tests/benchmarks/gradients.py

pictures: $(STAMP) ## the pictures of README's "Compare runs", from real runs (needs chromium and tmux)
	$(BIN)/python tests/benchmarks/pictures.py

studies: $(STAMP) ## run every committed study again (resumes where it stopped), rebuild all reports; ONLY=finding/ for a part
	$(BIN)/python tests/benchmarks/studies.py $(ONLY)

lock: $(STAMP) ## write constraints.txt from what is installed
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove .venv and what tools left; runs and reports stay
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
