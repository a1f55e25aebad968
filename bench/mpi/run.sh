#!/usr/bin/env bash
# bench/mpi/run.sh FOLDER: runs the programs in FOLDER that are made for several processes, under mpirun: ring on one
# rank and on two, stream too, memory on one, two and four (of_one_rank: what part its tokens take of what all take on one
# rank).
# The answers go to bench/results/mpi_NAME.txt.
set -euo pipefail
programs=$1
results=$(dirname "${BASH_SOURCE[0]}")/../results

# As root, and on more ranks than cores
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export RING_ATTENTION_NUM_THREADS=1

mkdir -p "$results"
echo
echo "==== mpi/ring"
for ranks in 1 2; do
    mpirun -n "$ranks" "$programs/bench_mpi_ring"
done | tee "$results/mpi_ring.txt"

echo
echo "==== mpi/stream"
for ranks in 1 2; do
    mpirun -n "$ranks" "$programs/bench_mpi_stream"
done | tee "$results/mpi_stream.txt"

echo
echo "==== mpi/memory"
for ranks in 1 2 4; do
    mpirun -n "$ranks" "$programs/bench_mpi_memory"
done | awk '{
    split($0, at, "of_tokens=")
    if (NR == 1) of_one = at[2] + 0
    printf "%s of_one_rank=%.3f\n", $0, (at[2] + 0) / of_one
    fflush()
}' | tee "$results/mpi_memory.txt"
