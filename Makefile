# The commands of this repository. Each sets up what it needs; nothing must be prepared.
# Set in many containers; each process would compile its libraries again (about ten seconds).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-torch test-tracking test-slow lint types protos docs lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## Make .venv with everything in it: .venv/bin/rrl
	@deploy/local/setup.sh

demo: setup  ## Reincarnate a Pong teacher: all services, QDagger, a report (5 to 13 minutes)
	@.venv/bin/rrl demo

# Four files at a time on two cores, since tests wait more than they compute; the tests of one file
# share what takes long to make.
test: setup  ## Run the tests
	@.venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test-torch: setup  ## Compare with libraries of PyTorch, which get an environment of their own, .venv-torch
	@deploy/local/torch.sh
	@.venv/bin/python -m pytest -m torch

test-tracking: setup  ## Send runs to Trackio, W&B and MLflow, which get an environment of their own, .venv-tracking
	@deploy/local/tracking.sh
	@.venv-tracking/bin/python -m pytest -m tracking

test-slow: setup  ## Run the tests that take long, which `make test` leaves out
	@.venv/bin/python -m pytest -m slow

lint: setup  ## Ruff
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

types: setup  ## Mypy, strict; what the client and the teacher service import on CPython 3.10, too
	@.venv/bin/mypy
	@.venv/bin/mypy --python-version 3.10 --follow-imports silent -p rrl_agents -p rrl_client $(addprefix -p services.,\
	  actor cli evaluator launcher learner library recorded_data replay run_report shared teacher tracking)

protos: setup  ## Make the stubs from the .proto files
	@protos/generate.sh

docs: setup  ## Build the site of docs/ into site/; a broken link or reference is an error
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build && echo site/index.html

lock:  ## Resolve the dependencies into locks/
	@deploy/local/lock.sh

clean:  ## Remove the environment and caches (never runs)
	rm -rf .venv .venv-torch .venv-tracking .setup .setup.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis site
