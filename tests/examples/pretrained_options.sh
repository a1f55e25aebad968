#!/usr/bin/env bash
# pretrained_options.sh MODEL_OPTIONS MODEL: what model_options prints of the folder of a model, and what it refuses. Exits
# with 1 at the first promise broken.
set -euo pipefail
model_options=$1 model=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

die() {
    echo "pretrained_options.sh: $*" >&2
    exit 1
}

# refuses WORD ARGUMENT...: one line on stderr that says WORD, nothing on stdout, exit code 2
refuses() {
    local word=$1 code=0
    shift
    "$model_options" "$@" >out.txt 2>err.txt || code=$?
    [[ $code -eq 2 ]] || die "'$*' exits with $code, expected 2"
    [[ $(wc -l <err.txt) -eq 1 ]] || die "'$*' writes $(wc -l <err.txt) lines on stderr, expected 1"
    [[ ! -s out.txt ]] || die "'$*' writes on stdout: $(head -n 1 out.txt)"
    grep -q -- "$word" err.txt || die "'$*' does not say '$word': $(cat err.txt)"
}

"$model_options" "$model" >out.txt
grep -q '^constexpr ra::TransformerOptions options{$' out.txt || die "no options: $(cat out.txt)"
grep -q '^    \.vocabulary = 61,  // .' out.txt || die "no vocabulary with a comment: $(cat out.txt)"
grep -qF "$model" out.txt || die "no folder: $(cat out.txt)"

refuses "one argument"
refuses "nowhere" nowhere
mkdir other
refuses "config.json" other
sed 's/"model_type": *"[a-z0-9]*"/"model_type": "mamba"/' "$model/config.json" >other/config.json
refuses "mamba" other
sed 's/"rope_type": *"default"/"rope_type": "yarn"/' "$model/config.json" >other/config.json
refuses "yarn" other
