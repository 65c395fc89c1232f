#!/usr/bin/env bash
# Makes the Python stubs from the .proto files. The tools are pinned: what protoc 4.25 writes works
# with protobuf 4.25 (the training side) and with every newer one.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python="${PYTHON:-.venv/bin/python}"
"$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q 'grpcio-tools==1.62.3' 'setuptools<81' 'mypy-protobuf==3.6.0'
PATH="$tools/venv/bin:$PATH" python -W ignore -m grpc_tools.protoc -I . \
  --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
  protos/rrl/teacher/v1/teacher.proto protos/rrl/learner/v1/learner.proto \
  protos/rrl/replay/v1/replay.proto
