.DEFAULT_GOAL := help
TEXT ?= Hello! I start to speak before the text is complete, and I stop when you tell me to.
OUT ?= demo.wav

.PHONY: help setup demo serve test check bench train clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## make .venv with everything (TORCH_INDEX_URL=... takes torch from another index)
	@scripts/setup

demo: setup ## start the server with the embedded checkpoint and speak TEXT into OUT
	@scripts/demo "$(TEXT)" "$(OUT)"

serve: setup ## start the server on http://127.0.0.1:6008
	@.venv/bin/indextts-server

test: setup ## style, types, import contracts and all tests
	@scripts/test

check: setup ## style, types and import contracts only
	@scripts/check

bench: setup ## latency of the embedded checkpoint on this machine
	@scripts/bench latency

train: setup ## make checkpoints/nano again into runs/ (hours; SMOKE=1: every stage in a minute, without its packages)
	@scripts/train $(if $(SMOKE),--smoke)

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
