#!/usr/bin/env bash
# Resolves pyproject.toml into the lock that set-up installs from. Needs uv on PATH or in .setup.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=uv
uv --version >/dev/null 2>&1 || uv=.setup/bin/uv
"$uv" pip compile pyproject.toml --extra train --extra dev --python-version 3.10 \
  --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --upgrade \
  --custom-compile-command 'make lock' -q -o locks/train.lock
