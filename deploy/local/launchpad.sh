#!/usr/bin/env bash
# Makes a wheel of dm-launchpad that any CPython 3 installs: launchpad.sh PYTHON FOLDER
#
# PyPI has it for CPython 3.10 only. Its package `launchpad` is pure Python; only its package
# `courier` is bound to 3.10, which this project never uses (services/launcher/
# launchpad_without_courier). So the official wheel is downloaded, held to its hash, and retagged.
#
#   PYTHON   has pip and wheel
#   FOLDER   where the wheel goes
set -euo pipefail
python=$1 folder=$2
wheel='dm-launchpad==0.5.2 --hash=sha256:ddad35efce120d8e8b4b1d65c9d8a1db9fef371606acd4548d1286100aa22b85'

mkdir -p "$folder"
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
  --python-version 3.10 --implementation cp --abi cp310 --platform manylinux2014_x86_64 \
  --require-hashes -r <(printf '%s\n' "$wheel") -d "$folder"
"$python" -m wheel tags --remove --python-tag py3 --abi-tag none --platform-tag any \
  "$folder"/dm_launchpad-0.5.2-cp310-*.whl > /dev/null
