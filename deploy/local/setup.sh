#!/usr/bin/env bash
# Makes .venv from the committed lock, with `.venv/bin/rrl`. Quick if nothing changed.
#
# Needs any Python 3 with pip. It finds a CPython 3.11 by running candidates, because a name on
# PATH may be a version manager's shim that fails; if there is none, uv downloads one.
# RRL_PYTHON=/path/to/python3.11 names one explicitly.
set -euo pipefail
cd "$(dirname "$0")/../.."

lock=locks/train.lock
stamp=.venv/.rrl-setup
uv_version=0.13.8

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The folder counts, too: scripts in an environment carry its path.
fingerprint() { { pwd; cat "$lock" pyproject.toml deploy/local/setup.sh deploy/local/launchpad.sh; } | cksum; }

is_cpython_311() {
  "$1" -c 'import sys, ssl, venv, ctypes
sys.exit(sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in "${RRL_PYTHON:-}" python3.11 python3 python /usr/bin/python3.11 \
    /usr/local/bin/python3.11 /opt/homebrew/bin/python3.11 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11*/bin/python \
    "$HOME"/.local/share/uv/python/cpython-3.11*/bin/python3.11 \
    "${CONDA_PREFIX:-/nonexistent}"/bin/python; do
    if [ -n "$candidate" ] && is_cpython_311 "$candidate"; then
      # The real interpreter, not a shim that depends on the current directory.
      "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
      return
    fi
  done
}

find_uv() {
  if uv --version >/dev/null 2>&1; then echo uv; return; fi
  local own=.setup/bin/uv python
  if ! "$own" --version >/dev/null 2>&1; then
    for python in python3 python "${1:-python3}" /usr/bin/python3; do
      rm -rf .setup
      say "fetching the installer (uv $uv_version) with $python"
      if "$python" -m venv .setup >/dev/null 2>&1 && .setup/bin/pip install -q "uv==$uv_version" >&2; then break; fi
      # Debian's python3 may lack venv; pip can still unpack into a folder.
      if "$python" -m pip install -q --target .setup "uv==$uv_version" >&2; then break; fi
    done
  fi
  "$own" --version >/dev/null 2>&1 || die "could not install uv: is there a Python 3 with pip, and does it reach the package index?"
  echo "$own"
}

main() {
  if [ -x .venv/bin/rrl ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ]; then return; fi
  if [ -n "${RRL_PYTHON:-}" ] && ! is_cpython_311 "$RRL_PYTHON"; then
    die "RRL_PYTHON=$RRL_PYTHON is not a working CPython 3.11"
  fi
  local python uv
  python=$(find_python)
  uv=$(find_uv "$python")
  if [ -z "$python" ]; then
    say "no working CPython 3.11 here; uv downloads one"
    "$uv" python install 3.11 || die "no CPython 3.11: install one and name it with RRL_PYTHON=/path/to/python3.11"
    python=$("$uv" python find 3.11)
  fi
  say "installing $(grep -c '==' "$lock") packages into .venv with $python"
  if ! is_cpython_311 .venv/bin/python; then
    rm -rf .venv
    "$uv" venv -q --python "$python" .venv
  fi
  rm -f "$stamp"
  "$uv" pip sync -q --python .venv/bin/python --require-hashes "$lock"
  rm -rf .setup/launchpad
  deploy/local/launchpad.sh .venv/bin/python .setup/launchpad
  "$uv" pip install -q --python .venv/bin/python --no-deps .setup/launchpad/*.whl
  "$uv" pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
  fingerprint > "$stamp"
  say "ready: .venv/bin/rrl"
}

# Two setups at once (make -j, two terminals) must not write to one environment.
if command -v flock >/dev/null 2>&1; then
  exec 9>.setup.lock
  flock 9
fi
main
