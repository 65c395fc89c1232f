#!/bin/sh
# Removes from an installed environment what our programs do not use: C headers and static
# libraries, the libraries' own tests, type stubs, and the symbols of the largest binaries.
# usage: shrink.sh VENV
set -eu
cd "$1"/lib/python3.*/site-packages
find . -type d \( -name tests -o -path ./tensorflow/include -o -path ./tensorflow/xla_aot_runtime_src \
  -o -path ./numpy/core/include -o -path ./numpy/_core/include -o -path ./onnx/backend/test \) \
  -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.a' -o -name '*.pyx' -o -name '*.pxd' \) -delete
# Only these: stripping breaks a library that was patched after linking.
for package in jaxlib ml_dtypes tensorflow tensorstore uvloop; do
  if [ -d "$package" ]; then
    find "$package" -type f -size +4M \( -name '*.so' -o -name '*.so.*' \) \
      -exec strip --strip-unneeded {} +
  fi
done
