# Each target sets up what it needs in .venv, once. PYTHON names the interpreter that makes it.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export GTNET_EMULATED := 0

.PHONY: help build demo read test test-fibers races test-ray soak sanitize notebooks bench flashlight hmmlearn crf lint format docs wheel recipe clean
help:
	@echo "make demo       train the check reader and write demo/report.html"
	@echo "make read       read images with it; IMAGE=check.png"
	@echo "make test       run the tests"
	@echo "make test-ray   the tests on a cluster of Ray, which this installs"
	@echo "make test-fibers, races  kernels of a GPU by fibers; the same under the thread sanitizer"
	@echo "make soak       random graphs, damaged files, kill -9; SECONDS_EACH=60 KILLS=20"
	@echo "make sanitize   the tests under address, undefined and thread sanitizers"
	@echo "make bench      time gtnet beside its peers, those of PyPI in build/peers"
	@echo "make flashlight ctc_decoder beside flashlight-text; ARGS=\"200000 5000000\" for many words"
	@echo "make hmmlearn   hidden Markov models beside hmmlearn"
	@echo "make crf        linear-chain CRFs beside pytorch-crf"
	@echo "make notebooks  run the notebooks and save their outputs"
	@echo "make lint       check formats, types, imports and workflows; make format repairs the formats"
	@echo "make docs       build the documentation into build/site"
	@echo "make wheel      build and audit an sdist and an abi3 wheel in dist/"
	@echo "make wheel-aarch64, test-aarch64  the wheel for 64-bit ARM; tests of it, emulated"
	@echo "make wheel-macos  the wheel for macOS on Apple silicon, not run"
	@echo "make recipe     check the conda recipe"
	@echo "make clean      remove everything these targets made"

build: gtnet/_cpu.abi3.so

demo: .venv/has-reader
	$(BIN)/gtnet train --data digits --demo --out demo --overwrite

IMAGE ?= demo/samples/*.png
read: .venv/has-reader
	$(BIN)/gtnet read $(IMAGE)

test: .venv/has-test gtnet/_emulated.abi3.so
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -n auto --dist worksteal $(ARGS)

# What a GPU would run, its barriers, shuffles and atomics too, with a fiber for each thread; races
# does it under the thread sanitizer, which then finds threads that should have waited for others. Without
# the tests of every short float, which take minutes there.
FIBERS = --device fibers -k 'not short_float' $(patsubst %,tests/test_cuda_%.py, \
	alignments beams chains compose cuts everywhere graphs paths rewrites transducers)
test-fibers: .venv/has-test gtnet/_fibers.abi3.so
	OMP_NUM_THREADS=1 GTNET_EXAMPLES=4 $(BIN)/python -m pytest -q -n auto --dist worksteal $(FIBERS)

races: export GTNET_EMULATED := fibers
races: export GTNET_EXAMPLES := 4
races: ARGS := $(FIBERS)
races: sanitize-thread

# Not part of the tests: Ray takes 240 MB, and a cluster a minute to start.
test-ray: .venv/has-test .venv/has-ray
	OMP_NUM_THREADS=1 GTNET_RAY=1 $(BIN)/python -m pytest -q -rs tests/test_reader_ray.py $(ARGS)

# The peers stay out of .venv: they are only measured beside.
flashlight: .venv/has-test
	PIP_CONSTRAINT= $(PIP) --quiet --no-deps --target build/peers --upgrade flashlight-text kenlm wordninja
	mkdir -p build/flashlight
	PYTHONPATH=build/peers:. $(BIN)/python -m benchmarks.flashlight build/flashlight $(ARGS)

PEERS = pytorch-crf hmmlearn scikit-learn scipy joblib threadpoolctl narwhals \
	optax jax jaxlib absl-py ml_dtypes opt_einsum
build/has-peers: .venv/has-test
	PIP_CONSTRAINT= $(PIP) --quiet --no-deps --target build/peers --upgrade $(PEERS)
	@touch $@

hmmlearn: build/has-peers
	PYTHONPATH=build/peers:. $(BIN)/python -m benchmarks.hidden_markov $(ARGS)

crf: build/has-peers
	PYTHONPATH=build/peers:. $(BIN)/python -m benchmarks.tagging $(ARGS)

# Not part of the tests: what is drawn differs with SEED, by default the day.
SECONDS_EACH ?= 60
KILLS ?= 20
SEED ?= $(shell date +%Y%m%d)
soak: .venv/has-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak --seconds $(SECONDS_EACH) --seed $(SEED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz_files --seconds $(SECONDS_EACH) --seed $(SEED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kill --times $(KILLS) --seed $(SEED)

# The extensions with sanitizers, beside the others: a whole gtnet in build/sanitize, which the
# tests import. ARGS names a part of them. One thread each for OpenMP, whose barriers the thread
# sanitizer does not know; Python's threads remain.
sanitize: sanitize-address,undefined sanitize-thread

sanitize-%: .venv/has-test
	GTNET_SANITIZE=$* CXX='$(CXX)' $(BIN)/python setup.py -q build \
		--build-lib build/sanitize/$* --build-temp build/sanitize/temporary
	OMP_NUM_THREADS=1 OMP_THREAD_LIMIT=1 PYTHONPATH=build/sanitize/$* \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
	TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1 \
	LD_PRELOAD="$(foreach l,$(if $(filter thread,$*),tsan,asan) stdc++,$(shell $(CXX) -print-file-name=lib$l.so))" \
		$(BIN)/pytest -q -p no:cacheprovider $(ARGS)

notebooks: .venv/has-test
	$(BIN)/python notebooks/execute.py

bench: build/has-peers
	PYTHONPATH=build/peers:. $(BIN)/python -m benchmarks $(ARGS)

CXX_FILES = $(shell find csrc -name '*.h' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.cu')

lint: .venv/has-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/rules.py
	$(BIN)/python .ci/headers.py
	$(BIN)/actionlint
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: .venv/has-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

docs: .venv/has-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file .ci/mkdocs.yml

# Only the libraries of torch are left out: they are there when gtnet is imported.
wheel: .venv/has-dist
	rm -rf dist
	$(BIN)/python -m build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --plat manylinux_2_28_$$(uname -m) \
		--exclude 'libtorch*.so' --exclude 'libc10*.so' --wheel-dir dist dist/*-linux_*.whl
	rm dist/*-linux_*.whl
	$(BIN)/abi3audit --strict --summary dist/*.whl

# Cross-compiled and emulated, on Debian; TESTS="tests/test_paths.py" for others than the usual.
.PHONY: wheel-aarch64 test-aarch64
wheel-aarch64 test-aarch64: %-aarch64: .venv/has-dist
	.ci/aarch64 $*

# Cross-compiled and not run: from Linux it can only be linked.
.PHONY: wheel-macos
wheel-macos: .venv/has-dist
	.ci/macos

# Whether the conda recipe can be rendered and is up to date; rattler-build makes the package.
recipe: .venv/has-dist
	$(BIN)/python .ci/recipe.py

clean:
	rm -rf .venv build demo dist *.egg-info gtnet/*.so

.venv/has-torch: constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "gtnet needs Python 3.10 or newer and there is no $(PYTHON): install python3, or name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "gtnet needs Python 3.10 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@command -v $(firstword $(CXX)) > /dev/null || { echo "gtnet needs a C++20 compiler and found no $(firstword $(CXX)): install g++, or name another with make CXX=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) 'setuptools>=77' 'torch>=2.10' numpy
	@touch $@

# Written anew when it names another: make CXX=clang++ after make is not up to date.
build/compiler: always
	@mkdir -p build
	@echo '$(CXX)' | cmp -s - $@ || echo '$(CXX)' > $@
.PHONY: always

gtnet/_cpu.abi3.so: .venv/has-torch setup.py build/compiler $(CXX_FILES)
	CXX='$(CXX)' $(BIN)/python setup.py build_ext --inplace
	@touch $@

# For tests only: the CUDA kernels, compiled to run on the CPU.
gtnet/_emulated.abi3.so: gtnet/_cpu.abi3.so
	CXX='$(CXX)' GTNET_EMULATED=1 $(BIN)/python setup.py build_ext --inplace
	@touch $@

gtnet/_fibers.abi3.so: gtnet/_cpu.abi3.so
	CXX='$(CXX)' GTNET_EMULATED=fibers $(BIN)/python setup.py build_ext --inplace
	@touch $@

# The extension is compiled by then; this adds the entry point and the packages of an extra. It links
# the extension again, whose time says nothing here (order-only): by it, two extras that other calls
# of make need at once would be installed once more, over each other.
.venv/has-%: pyproject.toml | gtnet/_cpu.abi3.so
	$(PIP) --no-build-isolation --editable '.[$*]'
	@touch $@
