#!/usr/bin/env bash
# ring_lm_signals.sh PROGRAM [MPIRUN [OPTION...]]: a training that is stopped saves its weights. Says each promise that is
# broken, and exits with 1.
set -uo pipefail
ring_lm=$1
shift
mpirun=("$@")
source "$(dirname "${BASH_SOURCE[0]}")/promises.sh"
export RING_ATTENTION_NUM_THREADS=1

for i in $(seq 700); do cat text.txt; done >long.txt
endless=(train --data text.txt --context 32 --batch 2 --steps 1000000)

# ended WITHIN: the exit code of what was started, which must end so soon, in seconds
ended() {
    local begin=$SECONDS
    (sleep 60; kill -KILL $job) >/dev/null 2>&1 &  # nobody waits for what this writes
    local guard=$!
    wait $job
    code=$?
    kill $guard 2>/dev/null
    [[ $((SECONDS - begin)) -le $1 ]] || broken "takes $((SECONDS - begin)) s to end"
}

# saved FOLDER WHAT: whole weights and a whole table
saved() {
    local at=$1
    "$ring_lm" generate --weights "$at/weights.safetensors" --length 2 >/dev/null || broken "$2: no weights"
    local step
    step=$(sed -n 's/^ring_lm: stopped by SIG[A-Z]* after step \([0-9]*\) of .*/\1/p' err.txt)
    [[ -n $step ]] || broken "$2: does not say after which step: $(cat err.txt)"
    [[ $(tail -n 1 "$at/loss.csv") == "$step",* ]] || broken "$2: loss.csv does not end with step $step"
}

if [[ ${#mpirun[@]} -eq 0 ]]; then
    for signal in INT TERM HUP; do
        start "$ring_lm" "${endless[@]}" --out $signal --report-every 3
        kill -$signal $job
        ended 3
        [[ $code -eq $((128 + $(kill -l $signal))) ]] || broken "SIG$signal: exit code $code"
        [[ $(wc -l <err.txt) -eq 1 ]] || broken "SIG$signal: not one line: $(cat err.txt)"
        saved $signal SIG$signal
    done

    # It tells twice.
    timeout --preserve-status -s INT 1 "$ring_lm" "${endless[@]}" --out timeout >out.txt 2>err.txt
    code=$?
    [[ $code -eq 130 ]] || broken "timeout -s INT: exit code $code"
    saved timeout "timeout -s INT"

    # With nohup the end of a session is none of a training.
    start nohup "$ring_lm" "${endless[@]}" --out nohup --report-every 3
    kill -HUP $job
    sleep 0.3
    kill -0 $job 2>/dev/null || broken "SIGHUP ends a training in spite of nohup"
    kill -TERM $job
    ended 3
    [[ $code -eq 143 ]] || broken "SIGTERM after SIGHUP: exit code $code"

    # A step takes seconds: the second signal does not wait for it.
    : >out.txt
    "$ring_lm" train --data long.txt --out twice --context 4096 --batch 16 --steps 9 >out.txt 2>err.txt &
    job=$!
    until [[ -s out.txt ]]; do sleep 0.05; done
    sleep 0.2
    kill -INT $job
    sleep 0.3
    kill -0 $job 2>/dev/null || broken "the first of two signals does not wait for the step"
    kill -INT $job
    ended 1
    [[ $code -eq 130 ]] || broken "SIGINT twice: exit code $code"
    [[ ! -e twice/weights.safetensors ]] || broken "the second signal did not end it"

    # While the held-out text is judged in the end, nothing is left to save.
    "$ring_lm" train --data long.txt --out judged --context 32 --batch 2 --steps 1 >out.txt 2>err.txt &
    job=$!
    for i in $(seq 100); do [[ ! -s judged/weights.safetensors ]] || break; sleep 0.05; done
    sleep 0.4
    kill -INT $job
    ended 2
    [[ $code -eq 130 ]] || broken "SIGINT in the end: exit code $code"
    ! grep -q '^digest' out.txt || broken "the held-out text is too short for this test"
    "$ring_lm" generate --weights judged/weights.safetensors --length 2 >/dev/null || broken "SIGINT in the end: no weights"
else
    # One rank is told, and all end after the same step.
    for rank in 0 2; do
        start "${mpirun[@]}" -n 3 "$ring_lm" "${endless[@]}" --out rank$rank --report-every 3
        kill -TERM "$(pgrep -P $job -f "${endless[0]}" | sed -n $((rank + 1))p)"
        ended 20
        [[ $code -eq 143 ]] || broken "SIGTERM to rank $rank: exit code $code"
        saved rank$rank "SIGTERM to rank $rank"
    done
    # mpirun tells all ranks. Open MPI's kills them a second later, which is short for a busy machine, and waits as long in any case.
    export OMPI_MCA_odls_base_sigkill_timeout=3
    start "${mpirun[@]}" -n 3 "$ring_lm" "${endless[@]}" --out mpirun --report-every 3
    kill -INT $job
    ended 20
    [[ $code -ne 0 ]] || broken "SIGINT to mpirun: exit code 0"
    "$ring_lm" generate --weights mpirun/weights.safetensors --length 2 >/dev/null || broken "SIGINT to mpirun: no weights"
fi

all_kept "a training that is stopped saves its weights"
