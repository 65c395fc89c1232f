#!/usr/bin/env bash
# Makes .venv-tracking: the libraries of locks/tracking.lock before those of .venv. For tests; a user
# may install that lock into .venv. Quick if nothing changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

lock=locks/tracking.lock
stamp=.venv-tracking/.rrl-lock

if cmp -s "$lock" "$stamp"; then exit; fi
printf 'tracking: installing %s into .venv-tracking\n' "$lock" >&2
rm -rf .venv-tracking
.venv/bin/python -m venv .venv-tracking
site_packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
# Do not install twice what .venv has.
printf 'import site; site.addsitedir("%s")\n' "$(site_packages .venv)" \
  > "$(site_packages .venv-tracking)/beside.pth"
.venv-tracking/bin/pip install -q -r "$lock"
cp "$lock" "$stamp"
