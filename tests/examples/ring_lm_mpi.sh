#!/usr/bin/env bash
# ring_lm_mpi.sh PROGRAM MPIRUN [OPTION...]: ring_lm prints one digest, by itself and on any number of ranks and threads, for
# each layout, with dropout, and with replicas. Exits with 1 at the first promise broken.
set -euo pipefail
ring_lm=$1
shift
mpirun=("$@")
source "$(dirname "${BASH_SOURCE[0]}")/promises.sh"

for i in $(seq 60); do echo "verse $i: and it came to pass, and the evening and the morning were the day $i."; done >text.txt
small=(--context 37 --batch 4 --report-every 2 --steps 3 --seed 1)

# on RANKS THREADS ARGUMENT...: trains on so many ranks (0: without mpirun); prints the digest
on() {
    local ranks=$1 threads=$2 launch=()
    shift 2
    [[ $ranks -eq 0 ]] || launch=("${mpirun[@]}" -n "$ranks")
    RING_ATTENTION_NUM_THREADS=$threads timeout 120 "${launch[@]}" "$ring_lm" train --data text.txt --out "out$ranks" "${small[@]}" "$@" \
        >out.txt 2>err.txt || die "'$*' on $ranks ranks: $(cat err.txt)"
    [[ $(grep -c '^digest ' out.txt) -eq 1 ]] || die "'$*' on $ranks ranks does not say one digest: $(cat out.txt)"
    sed -n 's/^digest //p' out.txt
}

# same "RANKS..." ARGUMENT...: the digest is the same on any of these numbers of ranks, and any of threads
same() {
    local numbers=$1 expected ranks threads=1
    shift
    expected=$(on 0 2 "$@")
    for ranks in $numbers; do
        [[ $(on $ranks $threads "$@") == "$expected" ]] || die "'$*': another digest on $ranks ranks of $threads threads"
        cmp -s out0/weights.safetensors "out$ranks/weights.safetensors" || die "'$*': other weights on $ranks ranks"
        cmp -s out0/loss.csv "out$ranks/loss.csv" || die "'$*': another loss.csv on $ranks ranks"
        threads=$((threads % 3 + 1))
    done
    echo "$* $expected"
}

same "1 2 3 4 5 8"
for layout in contiguous zigzag striped; do same "2 3 5" --layout $layout --dropout; done

replicas=$(on 0 1 --replicas 2 --dropout)
for ranks in 2 4 6; do
    [[ $(on $ranks 1 --replicas 2 --dropout) == "$replicas" ]] || die "another digest with replicas on $ranks ranks"
done

on 3 1 --layout zigzag --trace trace.json >/dev/null
grep -q '"cat": *"wait"' trace.json || die "no waiting in the trace"
grep -q 'seats 0-2 meet 3-5' trace.json || die "no seats in the trace"

# generates RANKS ARGUMENT...: on so many ranks (0: without mpirun); behind the context too, where it starts again
generates() {
    local ranks=$1 launch=()
    shift
    [[ $ranks -eq 0 ]] || launch=("${mpirun[@]}" -n "$ranks")
    timeout 120 "${launch[@]}" "$ring_lm" generate --weights out0/weights.safetensors --length 60 "$@" 2>err.txt ||
        die "'$*' on $ranks ranks: $(cat err.txt)"
}
for prompt in "v" "verse 7: and it came to pass, and the evening"; do
    generates 0 --prompt "$prompt" --seed 3 >text0.txt
    [[ $(wc -c <text0.txt) -eq $((${#prompt} + 61)) ]] || die "not the prompt, 60 bytes and a line end: $(cat text0.txt)"
    for ranks in 1 2 4; do
        generates $ranks --prompt "$prompt" --seed 3 >"text$ranks.txt"
        cmp -s text0.txt "text$ranks.txt" || die "another text on $ranks ranks: $(cat text0.txt "text$ranks.txt")"
    done
done

# refuses RANKS WORD ARGUMENT...: the job ends within 5 seconds with an exit code that is not 0, and says WORD
refuses() {
    local ranks=$1 word=$2 start=$SECONDS
    shift 2
    ! timeout 60 "${mpirun[@]}" -n "$ranks" "$ring_lm" train "${small[@]}" "$@" >out.txt 2>err.txt ||
        die "'$*' on $ranks ranks is not refused"
    [[ $((SECONDS - start)) -le 6 ]] || die "'$*' on $ranks ranks takes $((SECONDS - start)) s to end"
    grep -q -- "$word" err.txt out.txt || die "'$*' on $ranks ranks does not say '$word': $(cat err.txt)"
}
refuses 9 '9 ranks on 8 seats' --data text.txt --out x
refuses 3 'multiple of the replicas' --data text.txt --out x --replicas 2
refuses 2 'cannot make the folder' --data text.txt --out text.txt/x
refuses 2 'no_such_file' --data no_such_file --out x
refuses 2 'surprise' --data text.txt --out x --surprise 1

echo "ring_lm keeps its promises on several ranks"
