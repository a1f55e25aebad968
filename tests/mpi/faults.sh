#!/usr/bin/env bash
# faults.sh FAULTS MPIEXEC...: when a rank throws, is killed or stops, the whole job ends soon, with an exit code that is not
# 0 and a line that says which rank, and leaves no process behind.
set -euo pipefail

faults=$1
shift
mpiexec=("$@")  # with the option before the number of ranks
folder=$(mktemp -d)
cd "$folder"
export RING_ATTENTION_HOP_TIMEOUT=60

die() {
    printf '%s\n' "$1" "---- stdout" >&2
    cat out.txt >&2
    echo "---- stderr" >&2
    cat err.txt >&2
    exit 1
}

# The processes of the job that are there still: those that it has named.
left_over() {
    local pid
    for pid in $(sed -n 's/^rank [0-9]* is process //p' out.txt); do
        if [[ -e /proc/$pid && $(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>&1) != Z ]]; then echo "$pid"; fi
    done
}
clean_up() {
    [[ ! -e out.txt ]] || left_over | xargs -r kill -9
    rm -rf "$folder"
}
trap clean_up EXIT

# start RANKS WAY RANK: the job begins; all its ranks are at work.
start() {
    : >out.txt
    timeout 60 "${mpiexec[@]}" "$1" "$faults" "$2" "$3" >out.txt 2>err.txt &
    job=$!
    for _ in $(seq 300); do
        [[ $(grep -c '^rank' out.txt) -lt $1 ]] || return 0
        sleep 0.1
    done
    die "the job has not begun after 30 s"
}
process_of() { sed -n "s/^rank $1 is process //p" out.txt; }

# ends_within SECONDS: the job ends with an error, and none of its processes stays.
ends_within() {
    local begin=$SECONDS code=0
    wait "$job" || code=$?
    [[ $code -ne 0 ]] || die "exit code 0, expected another"
    [[ $((SECONDS - begin)) -le $1 ]] || die "the job has ended after $((SECONDS - begin)) s, expected $1 s at most"
    for _ in $(seq 30); do
        [[ -n $(left_over) ]] || return 0
        sleep 0.1
    done
    die "still there: $(left_over)"
}
says() { grep -Eq -- "$1" err.txt out.txt || die "nobody says '$1'"; }
says_once() { [[ $(cat err.txt out.txt | grep -Ec -- "$1") -eq 1 ]] || die "'$1' is not there once"; }

# ---- without a fault

"${mpiexec[@]}" 4 "$faults" none all >out.txt 2>err.txt || die "exit code $?, expected 0"

# ---- a rank throws

for rank in 0 2; do
    start 4 throw $rank
    ends_within 5
    says_once "^rank $rank: a pipe has burst$"
done
start 4 throw all
ends_within 5
says_once "a pipe has burst"
says "^rank 0: a pipe has burst$"
start 1 throw all
ends_within 5
says_once "^a pipe has burst$"

# ---- a rank is killed

start 4 sleep all
kill -9 "$(process_of 2)"
ends_within 10
if "${mpiexec[0]}" --version 2>&1 | grep -q HYDRA; then
    says "EXIT CODE: 9"  # MPICH's mpiexec does not tell which
else
    says "rank 2 .*(Killed|signal 9)"
fi

# ---- a rank stops: its neighbours notice, and not those that wait for them

export RING_ATTENTION_HOP_TIMEOUT=2
for rank in 2 0; do
    start 4 sleep all
    kill -STOP "$(process_of $rank)"
    ends_within 10
    says "^rank [0-3] has waited for 2 s .* nothing is heard from rank $rank .*RING_ATTENTION_HOP_TIMEOUT"
    ! grep -E "has waited" err.txt | grep -Ev "nothing is heard from rank $rank " || die "another is named"
done
