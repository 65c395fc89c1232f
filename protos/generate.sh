#!/usr/bin/env bash
# Generates the Python stubs from the .proto files, each where it is imported from. The tools are
# pinned: output of protoc 4.25 works with protobuf 4.25 (the training side) and every newer one.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python="${PYTHON:-.venv/bin/python}"
"$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q 'grpcio-tools==1.62.3' 'setuptools<81' 'mypy-protobuf==3.6.0'

# stubs CONTRACT FOLDER: the folder is the stubs' package, so protoc must see the contract in it.
stubs() {
  PATH="$tools/venv/bin:$PATH" python -W ignore -m grpc_tools.protoc \
    -I "$2=protos/rrl/$1/v1" \
    --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. "$2/$1.proto"
}
stubs teacher rrl_client/v1
stubs learner services/learner/v1
stubs replay services/replay/v1
