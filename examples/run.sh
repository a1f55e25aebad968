#!/usr/bin/env bash
# examples/run.sh [FILE]: installs what is missing, builds, shows that the ring equals dense attention, trains ring_lm on
# FILE (without it: on the King James text) for about two minutes on two cores, and lets it write a few lines.
set -euo pipefail

train=(--context 256 --steps 1200 --seed 1)
generate=(--prompt "In the beginning" --length 400 --temperature 0.8 --seed 1)

if [[ $# -gt 0 && ! -r $1 ]]; then
    echo "examples/run.sh: cannot read $1" >&2
    exit 2
fi
text=${1:+$(realpath -- "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(libcli11-dev libfmt-dev gnuplot-nox)
[[ -n $text ]] || packages+=(bible-kjv)
bash .ci/install.sh "${packages[@]}"

cmake --preset release -DRING_ATTENTION_BUILD_TESTS=OFF
cmake --build --preset release -j"$(nproc)"

if [[ -z $text ]]; then
    text=build/king_james.txt
    bible -f Gen1:1-Rev22:21 >"$text"
fi
out=build/ring_lm

echo
echo "The ring against dense attention"
build/examples/ring_equals_dense "$text"

echo
echo "Training on $text"
build/examples/ring_lm train --data "$text" --out "$out" "${train[@]}"

if command -v gnuplot >/dev/null; then
    gnuplot -e "set terminal dumb noenhanced size 100,24; set datafile separator ','; set key autotitle columnhead; \
                set xlabel 'step'; set ylabel 'bits per byte'; \
                plot for [column=2:3] '$out/loss.csv' using 1:column with lines"
fi

echo
echo "What it writes"
build/examples/ring_lm generate --weights "$out/weights.safetensors" "${generate[@]}"
echo
