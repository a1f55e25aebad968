#!/usr/bin/env bash
# build.sh [--bfloat16] MODEL_DIR PROGRAM: compiles one program for the published model in MODEL_DIR (config.json and
# weights, as Hugging Face has them): shows the model as options of the library, installs what is missing, and leaves the
# program at the path PROGRAM. It uses MPI where there is one. `PROGRAM --help` tells its commands. With --bfloat16 the
# program keeps weights, keys and values so, in half the memory, and does not train.
set -euo pipefail

storage=()
if [[ ${1:-} == --bfloat16 ]]; then
    storage=(--bfloat16)
    shift
fi
if [[ $# -ne 2 ]]; then
    echo "usage: build.sh [--bfloat16] MODEL_DIR PROGRAM" >&2
    exit 2
fi
model=$(realpath -- "$1")
program=$(realpath -m -- "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash .ci/install.sh libcli11-dev libfmt-dev >&2

work=build/pretrained
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# compile FOLDER TARGET [OPTION...]: shows what the compiler says only where it fails
compile() {
    local folder=$1 target=$2
    shift 2
    mkdir -p "$folder"
    flock "$folder" bash -c 'cmake -S . -B "$0" "${@:2}" && cmake --build "$0" --target "$1"' "$folder" "$target" \
        -DCMAKE_BUILD_TYPE=Release -DRING_ATTENTION_NATIVE=ON -DRING_ATTENTION_BUILD_TESTS=OFF \
        -DCMAKE_COMPILE_WARNING_AS_ERROR=OFF "$@" >"$log" 2>&1 || { cat "$log" >&2 && exit 1; }
}

compile "$work/tool" model_options
header=$("$work/tool/examples/pretrained/model_options" "${storage[@]}" "$model")
sed -n "/^constexpr/,/^};/p" <<<"$header"

# A folder for each header, so that who compiles a model again need not wait.
folder=$work/$(cksum <<<"$header" | tr ' ' -)
mkdir -p "$folder/include" "$(dirname -- "$program")"
cmp -s - "$folder/include/model_options.hpp" <<<"$header" || echo "$header" >"$folder/include/model_options.hpp"
compile "$folder" pretrained -DRING_ATTENTION_PRETRAINED="$PWD/$folder/include"
cp -f -- "$folder/examples/pretrained/pretrained" "$program"
