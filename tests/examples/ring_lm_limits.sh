#!/usr/bin/env bash
# ring_lm where the system refuses threads or memory: it trains, or says why not in one line and ends with 2.
#   ring_lm_limits.sh RING_LM
set -euo pipefail

ring_lm=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for i in $(seq 2000); do echo "line $i of a text"; done >"$folder/text"

for kilobytes in 150000 300000 2000000; do
    status=0
    (
        ulimit -v "$kilobytes"
        RING_ATTENTION_NUM_THREADS=64 timeout 60 "$ring_lm" train --data "$folder/text" --out "$folder/out" \
            --context 16 --batch 1 --steps 1 >"$folder/stdout" 2>"$folder/stderr"
    ) || status=$?
    case $status in
        0) grep -q '^digest ' "$folder/stdout" ;;
        2) [[ $(wc -l <"$folder/stderr") -eq 1 ]] ;;
        *) echo "ulimit -v $kilobytes: exit code $status" && cat "$folder/stderr" && exit 1 ;;
    esac
done
[[ $status -eq 0 ]]  # two gigabytes are enough
