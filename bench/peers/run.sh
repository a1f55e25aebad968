#!/usr/bin/env bash
# bench/peers/run.sh [OPTION...]: ours beside PyTorch, ONNX Runtime and attention in plain Eigen, all on one thread, on
# the same arrays, in one process and in turn. Prints time, throughput and memory, writes bench/results/peers.json, and
# ends with an error where results differ. OPTIONs are those of compare.py, such as --seq-len 1024 --longest 4096 for a
# quick look. The newest PyTorch and ONNX Runtime of PyPI go to build-bench/peers, which may take 5 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash .ci/install.sh libbenchmark-dev python3-venv
cmake --preset bench
cmake --build --preset bench -j"$(nproc)" --target ours plain_eigen

environment=build-bench/peers
bash .ci/python_environment.sh "$environment" numpy onnx onnxruntime

mkdir -p bench/results
export OMP_NUM_THREADS=1 RING_ATTENTION_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 PEERS_LIBRARIES=$PWD/build-bench/bench
"$environment/bin/python" bench/peers/compare.py --out bench/results/peers.json "$@"
bash bench/pictures.sh
