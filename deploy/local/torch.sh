#!/usr/bin/env bash
# Makes .venv-torch, with the libraries that write PyTorch models: for tests only, with the
# interpreter of .venv. Quick if nothing changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

requirements=tests/fixtures/other_agents/requirements.txt
stamp=.venv-torch/.rrl-requirements

if cmp -s "$requirements" "$stamp"; then exit; fi
printf 'torch: installing %s into .venv-torch\n' "$requirements" >&2
rm -rf .venv-torch
.venv/bin/python -m venv .venv-torch
.venv-torch/bin/pip install -q -r "$requirements"
cp "$requirements" "$stamp"
