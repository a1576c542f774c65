# Every habit is a verb. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check bench format clean

setup: .venv/ready
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q -c constraints.txt -e '.[test]' && touch $@

demo: setup
	$(BIN)/clip --version

test: setup
	$(BIN)/pytest -n 2

check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy clipcli && $(BIN)/lint-imports

bench: setup
	$(BIN)/python tests/bench/compare.py

format: setup
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:
	rm -rf .venv dist build
