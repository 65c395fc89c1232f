#!/bin/sh
# Takes out of an installed environment what no program of ours reads: C headers and static
# libraries, the libraries' own tests, type stubs, and the symbols of the largest binaries.
# usage: shrink.sh VENV
set -eu
cd "$1"/lib/python3.*/site-packages
find . -type d \( -name tests -o -path ./tensorflow/include -o -path ./tensorflow/xla_aot_runtime_src \
  -o -path ./numpy/core/include -o -path ./numpy/_core/include -o -path ./onnx/backend/test \) \
  -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.a' -o -name '*.pyx' -o -name '*.pxd' \) -delete
# Named, not all: a library that was patched after it was linked does not survive it.
for package in jaxlib ml_dtypes tensorflow tensorstore uvloop; do
  if [ -d "$package" ]; then
    find "$package" -type f -size +4M \( -name '*.so' -o -name '*.so.*' \) \
      -exec strip --strip-unneeded {} +
  fi
done
