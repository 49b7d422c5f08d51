# Two commands on a fresh machine: `make demo` and `make test`.
# Both create a virtual environment (.venv) with everything pinned by constraints.txt.
# On Windows run make in a shell that has sh, such as Git Bash.

PYTHON ?= python3
# Without bytecode files, Python compiles some 700 modules again in each test process (pytest
# rewrites the asserts of its plugins, and napari is one).
unexport PYTHONDONTWRITEBYTECODE
VENV ?= .venv
# Windows has another folder and ending for the programs of a virtual environment.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
VENV_PYTHON := $(BIN)/python$(if $(filter Windows_NT,$(OS)),.exe)
STAMP := $(VENV)/.tomochrome-installed
OUT ?= demo-output
PYTEST_ARGS ?=
# Test processes that run at the same time.
WORKERS ?= 2
# Rounds of `make fuzz`.
FUZZ_ROUNDS ?= 5
SCREEN := -screen 0 1600x1000x24

# A virtual screen on Linux; macOS and Windows use the real one. Looked up when it is used,
# because `libraries` may just have installed it.
XVFB = $(shell command -v xvfb-run >/dev/null 2>&1 && echo 'xvfb-run -a -s "$(SCREEN)"')

.PHONY: help demo test test-fast test-quick test-gui fuzz lint docs format pictures wheel bench libraries clean

help:
	@echo "make demo      color the sample patient and show the result"
	@echo "make test      run all tests (no screen needed)"
	@echo "make test-quick  run the tests that take less than a quarter of a second, without a window"
	@echo "make fuzz      property tests with new random examples, and long tests of hostile input"
	@echo "make lint      ruff, mypy, numpydoc, and a strict build of the documentation"
	@echo "make docs      build the documentation as a site: build/docs/index.html"
	@echo "make format    let ruff rewrite the code"
	@echo "make bench     all benchmarks"
	@echo "make pictures  make the pictures of the documentation from phantoms"
	@echo "make wheel     build sdist and wheel, and try the wheel in an empty environment"

demo: $(STAMP)
	@sh scripts/system_libraries.sh || echo "Continuing without a window if none can be opened."
	$(BIN)/tomochrome demo --out $(OUT) --force

test: $(STAMP) libraries
	@$(MAKE) --no-print-directory --keep-going test-fast test-gui

test-fast: $(STAMP)
	$(XVFB) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not gui and not fuzz" $(PYTEST_ARGS)

# For the inner loop: without those in tests/slow.txt, which scripts/list_slow_tests.py writes.
test-quick: $(STAMP)
	$(XVFB) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not gui and not fuzz and not slow" $(PYTEST_ARGS)

test-gui: $(STAMP)
	$(XVFB) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  -m "gui and not fuzz" tests/_napari $(PYTEST_ARGS)

# All property tests with new random examples in each round, and the tests marked `fuzz`.
fuzz: $(STAMP) libraries
	@for round in $$(seq $(FUZZ_ROUNDS)); do \
	  $(XVFB) $(BIN)/python -m pytest -n $(WORKERS) -m "hypothesis or fuzz" --hypothesis-profile=fuzz $(PYTEST_ARGS) || exit 1; \
	done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/check_docstrings.py
	@$(MAKE) --no-print-directory docs

# Strict: a warning is an error. Nothing is fetched (docs/conf.py).
docs: $(STAMP)
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --fresh-env --quiet docs build/docs

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/opening.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/lighting.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/samplers.py
	$(BIN)/python benchmarks/registration_speed.py
	$(BIN)/python benchmarks/cancel.py
	$(XVFB) $(BIN)/python benchmarks/event_loop.py --runs 3

pictures: $(STAMP)
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_page_picture.py
	$(BIN)/python docs/make_hints_picture.py
	$(BIN)/python docs/make_render_pictures.py
	$(XVFB) $(BIN)/python docs/make_widget_picture.py
	$(XVFB) $(BIN)/python docs/make_picker_picture.py
	$(XVFB) $(BIN)/python docs/make_register_pictures.py

wheel: $(STAMP)
	sh scripts/check_wheel.sh $(BIN)/python dist

libraries:
	@sh scripts/system_libraries.sh tests

$(VENV_PYTHON):
	sh scripts/make_environment.sh "$(PYTHON)" "$(VENV)"

# The pinned build tools are installed first, so that the build itself downloads nothing.
$(STAMP): pyproject.toml constraints.txt hatch_build.py | $(VENV_PYTHON)
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[all,test,dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output
