# Every habit is a verb. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin
KINDS := airplane,apple,bicycle,car,cat,dog,elephant,guitar,house,pizza,rose,umbrella
DEMO := $(BIN)/clip classify clipcli/demo/samples --model demo --labels $(KINDS)

MINUTES ?= 10

.PHONY: setup demo test torture check bench format man messages readme lint-man clean train-demo

setup: .venv/ready
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q -c constraints.txt -e '.[test]' && touch $@

demo: setup
	$(DEMO) --top 2 --format table
	$(DEMO) --top 1 --format jsonl

test: setup
	$(BIN)/pytest -n 2

# Attacks and faults for MINUTES, or TRIALS of each campaign: make torture MINUTES=60 SEED=1000 CAMPAIGNS="images hub".
torture: setup
	$(BIN)/python -m tests.torture $(CAMPAIGNS) --minutes $(MINUTES) $(if $(TRIALS),--trials $(TRIALS)) --seed $(or $(SEED),1)

check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy clipcli && $(BIN)/lint-imports

bench: setup
	$(BIN)/pip install -q -c constraints.txt onnx onnxruntime
	$(BIN)/python -m tests.bench.compare --cold

format: setup
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# The demo model from nothing, or on from where it was stopped. glibc must keep freed tensors, or it spends a third of
# the time on giving them back; one thread trains beside the one that draws the images.
train-demo: setup
	$(BIN)/pip install -q -r tests/demo_training/requirements.txt
	OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 $(BIN)/python -m tests.demo_training

# What the pages say of options and fields, from the program and its schemas; the rest of a page is written by hand.
man: setup
	$(BIN)/python man/generate.py

# The words of all errors, warnings and hints, in one file that a test compares with; read its diff.
messages: setup
	$(BIN)/python -m tests.helpers.messages

# What the README shows of the program: the image of a terminal, and the table of models.
readme: setup
	$(BIN)/python man/readme.py

lint-man:
	cd man && mandoc -Tlint -Wwarning *.[157]

clean:
	rm -rf .venv dist build
