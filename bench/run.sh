#!/usr/bin/env bash
# bench/run.sh: installs what is missing, builds, runs every benchmark on one thread (threads: on more), and draws what
# came out, in less than 15 minutes on two cores.
#
# What is here: a Google Benchmark program for each question (attention, attention_options, attention_parts, bfloat16,
# decode, layers, model, training_step, stream, memory, threads, ring, scaling), which the first line of NAME.cpp asks. The answer goes to
# bench/results/NAME.json. `of_peak` is the part that was reached of what the core can do, which a loop of fused
# multiply-adds measures beside the work (fma_peak.hpp); such numbers are medians over rounds. mpi/ has programs for
# several processes (ring, memory), which mpi/run.sh starts where there is an mpirun. peers/run.sh compares with OpenVINO,
# ONNX Runtime, PyTorch and plain Eigen and takes half an hour; where it has run, its numbers are in the pictures too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash .ci/install.sh libbenchmark-dev libopenmpi-dev openmpi-bin gnuplot-nox jq
cmake --preset bench
cmake --build --preset bench -j"$(nproc)"

mkdir -p bench/results
for source in bench/*.cpp; do
    name=$(basename "$source" .cpp)
    threads=1
    [[ $name != threads ]] || threads=$(nproc)
    echo
    echo "==== $name"
    RING_ATTENTION_NUM_THREADS=$threads "build-bench/bench/bench_$name" \
        --benchmark_out="bench/results/$name.json" --benchmark_out_format=json
done

if command -v mpirun >/dev/null && [[ -x build-bench/bench/bench_mpi_ring ]]; then
    bash bench/mpi/run.sh build-bench/bench
fi
bash bench/pictures.sh
echo
echo "in all $SECONDS s"
