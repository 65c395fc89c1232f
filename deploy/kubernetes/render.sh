#!/bin/sh
# Renders every overlay into rendered/, which the tests read; needs kubectl (Kustomize 5) alone.
# usage: deploy/kubernetes/render.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/rendered}
mkdir -p "$out"
for overlay in "$here"/overlays/*/; do
  kubectl kustomize "$overlay" > "$out/$(basename "$overlay").yaml"
done
