# Everything starts from nothing: a virtual environment in .venv, installed through constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all check docs fuzz bench release clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/installed-bench: .venv/installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

# An image model that comes with the package, if there is one.
PRETRAINED := $(notdir $(firstword $(wildcard $(addprefix src/anila/pretrained/,mnist flowers cifar10 rings))))

demo: .venv/installed  ## draw from a pretrained model, train rings, and make a page of what came of it
	mkdir -p runs
	$(BIN)/anila sample pretrained:$(PRETRAINED) --count 64 --out runs/pretrained.png
	$(BIN)/anila train rings --run runs/rings
	$(BIN)/anila evaluate runs/rings
	$(BIN)/anila report runs/rings
	@echo
	@echo "Open this page: runs/rings/report.html"

test: .venv/installed-dev  ## the default suite
	$(BIN)/pytest

test-all: .venv/installed-dev  ## slow tests too
	$(BIN)/pytest -m ''

check: .venv/installed-dev  ## style, types, layers, doctests, pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -n 0 --doctest-modules src
	$(BIN)/pytest -n 0 -m '' tests/test_web.py

docs: .venv/installed-dev  ## the documentation site, in build/site
	$(BIN)/python scripts/site.py

SECONDS ?= 20
fuzz: .venv/installed-dev  ## damaged settings, checkpoints, archives and tables: so many SECONDS for each kind of file
	FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest -n 0 tests/test_fuzz.py

bench: .venv/installed-bench  ## a short form of the benchmarks
	$(BIN)/python benchmarks/rings_samplers.py --short --out runs/bench
	$(BIN)/python benchmarks/samplers.py --short --out runs/bench
	$(BIN)/python benchmarks/speed.py --short --out runs/bench

release:  ## the wheel and the sdist, made into dist/ and tried in a clean environment
	PYTHON=$(PYTHON) scripts/release.sh dist

clean:
	rm -rf .venv build
