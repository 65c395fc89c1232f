#!/usr/bin/env bash
# Resolves pyproject.toml into the locks that set-up and images install from. Needs uv on PATH or in
# .setup.
#
#   locks/train.lock                     .venv: everything, with the tests' packages
#   locks/tracking.lock                  experiment trackers, to install into .venv
#   locks/images/training[-cuda].lock    the training image, with the same versions
#   locks/images/teacher[-cuda].lock     the teacher's image, on a newer Python
#   locks/images/build.lock              what builds this repository's wheel in both
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=uv
uv --version >/dev/null 2>&1 || uv=.setup/bin/uv

compile() {  # compile PYTHON LOCK ARGUMENT...
  local python=$1 lock=$2
  shift 2
  "$uv" pip compile "$@" --python-version "$python" --python-platform x86_64-manylinux_2_28 \
    --generate-hashes --no-emit-index-url --upgrade --custom-compile-command 'make lock' -q \
    -o "locks/$lock.lock"
}

mkdir -p locks/images
compile 3.11 train pyproject.toml --extra balloon --extra dev

# Trackio does not support the newest pillow.
grep -E '^[a-zA-Z0-9._-]+==' locks/train.lock | grep -v '^pillow==' | tr -d '\\' |
  compile 3.11 tracking pyproject.toml --extra track --constraint -

same_versions=(--constraint locks/train.lock --override deploy/docker/left-out.txt)
compile 3.11 images/training pyproject.toml --extra train "${same_versions[@]}"
compile 3.11 images/training-cuda pyproject.toml --extra train - "${same_versions[@]}" \
  <<<'jax[cuda12]'

compile 3.12 images/teacher pyproject.toml --extra teacher \
  --override deploy/docker/left-out-of-teacher.txt
compile 3.12 images/teacher-cuda pyproject.toml --extra teacher - \
  --constraint locks/images/teacher.lock --override deploy/docker/left-out-of-teacher.txt \
  <<<'jax[cuda12]'

compile 3.11 images/build - <<<$'setuptools>=77\nwheel'
