#!/usr/bin/env bash
# Installs dm-launchpad's own wheel into the environment of PYTHON: launchpad.sh PYTHON
#
# PyPI has it for CPython 3.10 only. Its package `launchpad` is pure Python and runs on any; what is
# bound to 3.10 is its package `courier`, which this project never uses (see
# services/launcher/launchpad_without_courier). So the wheel is fetched, held to its hash, and tagged anew.
# PYTHON's environment needs pip and wheel.
set -euo pipefail
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '%s\n' 'dm-launchpad==0.5.2 --hash=sha256:ddad35efce120d8e8b4b1d65c9d8a1db9fef371606acd4548d1286100aa22b85' \
  > "$folder/launchpad.txt"
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
  --python-version 3.10 --implementation cp --abi cp310 --platform manylinux2014_x86_64 \
  -d "$folder" -r "$folder/launchpad.txt"
"$python" -m wheel tags --remove --python-tag py3 --abi-tag none --platform-tag any \
  "$folder"/dm_launchpad-*.whl > "$folder/tagged"
"$python" -m pip install -q --disable-pip-version-check --no-deps --no-index --root-user-action ignore \
  "$folder/$(cat "$folder/tagged")"
