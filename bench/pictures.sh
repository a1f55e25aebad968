#!/usr/bin/env bash
# bench/pictures.sh: draws bench/results/throughput.png and memory.png of the JSON files there, where there is gnuplot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/results"

for tool in gnuplot jq; do
    command -v "$tool" >/dev/null || { echo "No pictures: there is no $tool"; exit 0; }
done
lines=$(mktemp -d)
trap 'rm -rf "$lines"' EXIT

# ours FILE DIRECTION HEADS REST COUNTER: N and the counter, of the benchmarks "DIRECTION/heads:HEADS/N:.../REST"
ours() {
    jq -r --arg is "^$2/heads:$3/N:(?<n>[0-9]+)/$4" --arg counter "$5" \
        '.benchmarks[] | (.name | capture($is)) as $at | [$at.n, .[$counter]] | @tsv' "$1"
}

# peers LIST FIELD: a file "CONTENDER.tsv" of N and the field for each peer, causal and forward
peers() {
    [[ -r peers.json ]] || return 0
    local contender
    jq -r ".$1[].contender | select(. != \"ours\")" peers.json | sort -u | while read -r contender; do
        jq -r --arg contender "$contender" ".$1[] | select(.contender == \$contender and .$2 != null) |
            select(.case == \"forward, causal\") | [.seq_len, .$2] | @tsv" peers.json >"$lines/$1/$contender.tsv"
    done
}

# draw PICTURE FOLDER Y_LABEL SCALE SETTINGS: a line for each file in the folder, y multiplied by the scale
draw() {
    local plots=() file
    for file in "$lines/$2"/*.tsv; do
        [[ -s $file ]] || continue
        plots+=("'$file' using 1:(\$2 * $4) with linespoints lw 2 pt 7 title '$(basename "$file" .tsv)'")
    done
    [[ ${#plots[@]} -gt 0 ]] || return 0
    gnuplot -e "set terminal pngcairo noenhanced size 1000,600; set output '$1'; set key outside right; set grid; \
        set logscale x 2; set xlabel 'N'; set ylabel '$3'; $5; plot $(IFS=,; echo "${plots[*]}")"
    echo "bench/results/$1"
}

mkdir "$lines/throughput" "$lines/memory"
for direction in forward backward; do
    for heads in 8 1; do
        title="ours, $direction, $heads head$([[ $heads == 1 ]] || echo s).tsv"
        if [[ -r attention.json ]]; then
            ours attention.json "$direction" "$heads" d:64/causal:1/ GFLOP/s >"$lines/throughput/$title"
        fi
        if [[ -r memory.json ]]; then
            ours memory.json "$direction" "$heads" "" bytes_beyond >"$lines/memory/$title"
        fi
    done
done
peers throughput gflops
peers memory bytes_beyond

draw throughput.png throughput "GFLOP/s on one thread, causal, head_dim 64" 1e0 "set yrange [0:*]"
draw memory.png memory "MiB beyond q, k, v and output, causal, head_dim 64" "(1.0 / 2 ** 20)" "set logscale y 2"
