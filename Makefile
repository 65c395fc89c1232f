# The commands of this repository. Each sets up what it needs.
# Many containers set this; it would make each process compile its libraries again (about ten seconds).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-torch test-tracking test-slow lint types protos docs lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## Make .venv, with .venv/bin/rrl
	@deploy/local/setup.sh

demo: setup  ## Reincarnate a Pong teacher: all services, QDagger, a report (5 to 13 minutes)
	@.venv/bin/rrl demo

# Four files at a time on two cores, since tests wait more than they compute; the tests of one file
# share slow fixtures.
test: setup  ## Run the tests
	@.venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test-torch: setup  ## Compare with PyTorch libraries, in a separate environment, .venv-torch
	@deploy/local/torch.sh
	@.venv/bin/python -m pytest -m torch

test-tracking: setup  ## Send runs to Trackio, W&B and MLflow, in a separate environment, .venv-tracking
	@deploy/local/tracking.sh
	@.venv-tracking/bin/python -m pytest -m tracking

test-slow: setup  ## Run the slow tests, which `make test` leaves out
	@.venv/bin/python -m pytest -m slow

lint: setup  ## Ruff
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

types: setup  ## Mypy, strict; client and teacher service also as CPython 3.10
	@.venv/bin/mypy
	@.venv/bin/mypy docs/outside_links.py docs/results/*/*.py
	@.venv/bin/mypy --python-version 3.10 --follow-imports silent -p rrl_agents -p rrl_client $(addprefix -p services.,\
	  actor cli evaluator launcher learner library recorded_data replay run_report shared teacher tracking)

protos: setup  ## Generate the stubs from the .proto files
	@protos/generate.sh

docs: setup  ## Build the site of docs/ into site/; a broken link or reference is an error
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build && echo site/index.html

lock:  ## Resolve the dependencies into locks/
	@deploy/local/lock.sh

clean:  ## Remove the environments and caches, but no runs
	rm -rf .venv .venv-torch .venv-tracking .setup .setup.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis site
