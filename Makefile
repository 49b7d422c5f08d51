# Two commands on a fresh machine: `make demo` and `make test`.
# Both make a virtual environment (.venv) with everything pinned by constraints.txt.

PYTHON ?= python3
# Whoever forbids Python to keep what it compiled makes it compile some 700 modules in each of the
# tests' processes (pytest rewrites the asserts of its plugins, and napari is one).
unexport PYTHONDONTWRITEBYTECODE
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tomochrome-installed
OUT ?= demo-output
PYTEST_ARGS ?=
# Two processes suit two cores.
WORKERS ?= 2
# How often `make fuzz` starts anew.
FUZZ_ROUNDS ?= 5
SCREEN := -screen 0 1600x1000x24

# A virtual screen where there is one; macOS draws on the real one. Looked up when it is used,
# because `libraries` may just have installed it.
XVFB = $(shell command -v xvfb-run >/dev/null 2>&1 && echo 'xvfb-run -a -s "$(SCREEN)"')

.PHONY: help demo test test-fast test-gui fuzz lint format pictures wheel bench libraries clean

help:
	@echo "make demo      color the embedded sample patient and show it"
	@echo "make test      run all tests (no screen needed)"
	@echo "make fuzz      look for new counterexamples: random examples, long and hostile runs"
	@echo "make lint      ruff and mypy"
	@echo "make format    let ruff rewrite the code"
	@echo "make bench     the benchmarks, side by side"
	@echo "make pictures  the pictures of the README, from the phantom"
	@echo "make wheel     build a wheel and try it in an empty environment"

demo: $(STAMP)
	@sh scripts/system_libraries.sh || echo "Going on without a window where one cannot be opened."
	$(BIN)/tomochrome demo --out $(OUT) --force

test: $(STAMP) libraries
	@$(MAKE) --no-print-directory --keep-going test-fast test-gui

test-fast: $(STAMP)
	$(XVFB) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not gui and not fuzz" $(PYTEST_ARGS)

test-gui: $(STAMP)
	$(XVFB) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "gui and not fuzz" tests/_napari $(PYTEST_ARGS)

# Every property test with new random examples in each round, and what is marked `fuzz`.
fuzz: $(STAMP) libraries
	@for round in $$(seq $(FUZZ_ROUNDS)); do \
	  $(XVFB) $(BIN)/python -m pytest -n $(WORKERS) -m "hypothesis or fuzz" --hypothesis-profile=fuzz $(PYTEST_ARGS) || exit 1; \
	done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python benchmarks/opening.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/lighting.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/registration_speed.py
	$(BIN)/python benchmarks/cancel.py
	$(XVFB) $(BIN)/python benchmarks/event_loop.py

pictures: $(STAMP)
	$(BIN)/python docs/make_pictures.py
	$(XVFB) $(BIN)/python docs/make_widget_picture.py
	$(XVFB) $(BIN)/python docs/make_picker_picture.py
	$(XVFB) $(BIN)/python docs/make_register_pictures.py

wheel: $(STAMP)
	sh scripts/check_wheel.sh $(BIN)/python

libraries:
	@sh scripts/system_libraries.sh

$(BIN)/python:
	sh scripts/make_environment.sh "$(PYTHON)" "$(VENV)"

# The build tools come first and pinned, so that the build needs no network of its own.
$(STAMP): pyproject.toml constraints.txt hatch_build.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[all,test,dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output
