# make serve   set up and serve the built-in model on http://127.0.0.1:8000
# make test    set up and run the tests that are not slow, two files at a time
# make test-all   all tests, with the share of app/ that they cover
# make test-shuffled   all tests in an order by chance; SEED=… for the same order again
# make check   what CI runs: lint, types, all tests
# make fuzz    requests, photos and whole connections made up for MINUTES each, far longer than `make test` does
# make audit   known vulnerabilities of what requirements.lock pins; needs the network
# make sbom    dist/u2matte-….cdx.json: the packages of a release and their licences
# make train   CONFIG=… DATA=… [BACKGROUNDS=…] [INIT=ARTIFACT]
# make bench   every speed target beside rembg, met or not; ten minutes
# make wheel   dist/u2matte-….whl, with the built-in model inside
# make docs    the pictures and the generated tables of README, MODEL_CARD and docs/
# make clean   remove everything that these targets made, models and runs excepted

PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13,$(shell python$(v) -c 'import sys; print(sys.executable)' 2>/dev/null)) python3)
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= training/configs/portrait.toml
DATA ?= data/P3M-10k
BACKGROUNDS ?=
INIT ?=
MINUTES ?= 5
SEED ?= $(shell date +%s)
TESTS = $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

.PHONY: serve test test-all test-shuffled check lint types fuzz audit sbom wheel train bench docs lock clean

serve: $(VENV)/.serve
	@$(BIN)/python -m app serve

test: $(VENV)/.dev
	$(TESTS) -m 'not slow'

test-all: $(VENV)/.dev
	$(TESTS) --cov --cov-fail-under=90

test-shuffled: $(VENV)/.dev
	$(TESTS) --shuffle $(SEED)

check: lint types test-all
	@.ci/audit --if-reachable

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint -c .hadolint.yaml Dockerfile.gpu docker/Dockerfile.* docker/proxy/Dockerfile

types: $(VENV)/.dev
	$(BIN)/mypy

fuzz: $(VENV)/.fuzz
	CONTRACT_EXAMPLES=$$(($(MINUTES) * 200)) $(BIN)/python -m pytest -q tests/app/api/test_openapi_contract.py
	$(BIN)/python -m tests.fuzz.fuzz_codec --seconds $$(($(MINUTES) * 60))
	$(BIN)/python -m tests.fuzz.fuzz_requests --seconds $$(($(MINUTES) * 60))
	$(BIN)/python -m tests.fuzz.fuzz_framing --seconds $$(($(MINUTES) * 60))

audit: $(VENV)/.dev
	.ci/audit

sbom: $(VENV)/.release
	$(BIN)/python -m tests.tools.make_sbom

wheel: | $(BIN)/python
	rm -rf build
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
	@ls dist/u2matte-*.whl

train: $(VENV)/.train
	$(BIN)/python -m training train $(CONFIG) --data-root $(DATA) \
		$(if $(BACKGROUNDS),--backgrounds $(BACKGROUNDS)) $(if $(INIT),--init-from $(INIT))

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench.bench_targets

docs: $(VENV)/.dev
	$(BIN)/python -m tests.tools.make_pictures
	$(BIN)/python -m tests.tools.make_tables

# The lock pins every version for every extra and platform, and names no index. Needs uv.
lock:
	uv pip compile --universal --python-version 3.11 --all-extras --upgrade --no-emit-index-url \
		--no-annotate --no-header pyproject.toml -o requirements.lock

$(VENV)/.serve: EXTRAS := [serve,tensorflow]
$(VENV)/.train: EXTRAS := [train,import]
$(VENV)/.dev: EXTRAS := [dev]
$(VENV)/.fuzz: EXTRAS := [dev,fuzz]
$(VENV)/.release: EXTRAS := [serve,tensorflow,release]
$(VENV)/.serve $(VENV)/.train $(VENV)/.dev $(VENV)/.fuzz $(VENV)/.release: pyproject.toml requirements.lock model/kernels.c | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c requirements.lock -e '.$(EXTRAS)'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
	rm -f model/_kernels.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
