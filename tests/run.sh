#!/usr/bin/env bash
# tests/run.sh [PRESET]: installs what is missing, builds, and runs every test. PRESET is one of CMakePresets.json:
# release (the default), clang, asan or tsan.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:-release}

bash .ci/install.sh doctest-dev libcli11-dev libfmt-dev libopenmpi-dev openmpi-bin
cmake --preset "$preset"
cmake --build --preset "$preset" -j"$(nproc)"

status=0
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
ctest --preset "$preset" -j"$(nproc)" | tee "$summary" || status=$?

# "97% tests passed, 2 tests failed out of 68"
read -r failed total < <(sed -En 's/.* tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$summary") || true
echo "$((${total:-0} - ${failed:-0})) passed, ${failed:-0} failed"
exit "$status"
