#!/usr/bin/env bash
# pretrained_options.sh MODEL_OPTIONS MODEL: what model_options prints of the folder of a model, and what it refuses. Exits
# with 1 at the first promise broken.
set -euo pipefail
model_options=$1 program=$1 model=$2
source "$(dirname "${BASH_SOURCE[0]}")/promises.sh"
broken() { die "$@"; }

"$model_options" "$model" >out.txt
grep -q '^constexpr ra::TransformerOptions options{$' out.txt || die "no options: $(cat out.txt)"
grep -q '^    \.vocabulary = 61,  // .' out.txt || die "no vocabulary with a comment: $(cat out.txt)"
grep -qF "$model" out.txt || die "no folder: $(cat out.txt)"
! grep -q bfloat16 out.txt || die "bfloat16 unasked: $(cat out.txt)"
"$model_options" --bfloat16 "$model" >out.txt
grep -q '^    \.storage = ra::Storage::bfloat16,  // .' out.txt || die "no storage: $(cat out.txt)"
grep -q '^    \.weights = ra::Storage::bfloat16,  // .' out.txt || die "no weights: $(cat out.txt)"

refuses "one argument"
refuses "one argument" --bfloat16
refuses "nowhere" nowhere
mkdir other
refuses "config.json" other
sed 's/"model_type": *"[a-z0-9]*"/"model_type": "mamba"/' "$model/config.json" >other/config.json
refuses "mamba" other
sed 's/"rope_type": *"default"/"rope_type": "yarn"/' "$model/config.json" >other/config.json
refuses "yarn" other
