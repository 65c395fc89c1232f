#!/usr/bin/env bash
# Makes a wheel of dm-launchpad that any CPython 3 installs: launchpad.sh PYTHON FOLDER
#
# PyPI has it for CPython 3.10 only. Its package `launchpad` is pure Python; only its package
# `courier` is tied to 3.10, and this project does not use it (services/launcher/
# launchpad_without_courier). So this downloads the official wheel, checks its hash, and repacks it
# without `courier` and with a matching tag.
#
#   PYTHON   has pip and wheel
#   FOLDER   where the wheel goes; made if it is missing
set -euo pipefail
python=$1 folder=$2
wheel='dm-launchpad==0.5.2 --hash=sha256:ddad35efce120d8e8b4b1d65c9d8a1db9fef371606acd4548d1286100aa22b85'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
  --python-version 3.10 --implementation cp --abi cp310 --platform manylinux2014_x86_64 \
  --require-hashes -r <(printf '%s\n' "$wheel") -d "$work"
"$python" -m wheel unpack -d "$work" "$work"/dm_launchpad-*.whl > /dev/null
rm -r "$work"/dm_launchpad-*.whl "$work"/dm_launchpad-0.5.2/courier
"$python" -m wheel pack -d "$work" "$work"/dm_launchpad-0.5.2 > /dev/null
"$python" -m wheel tags --remove --python-tag py3 --abi-tag none --platform-tag any \
  "$work"/dm_launchpad-*.whl > /dev/null
mkdir -p "$folder"
mv "$work"/dm_launchpad-*.whl "$folder"
