#!/usr/bin/env bash
# bench/peers/run.sh [OPTION...]: ours beside OpenVINO, ONNX Runtime, PyTorch, on processors of AMD zentorch, and attention
# in plain Eigen, on the same arrays, in one process and in turn. Prints time, throughput and memory and the best peer of
# each case, writes bench/results/peers.json, and ends with an error where results differ. OPTIONs are those of compare.py,
# such as --quick, or --cases decode,all --head-dims 64 for the times of these alone. PEERS_THREADS=2 is for two threads
# instead of one; PEERS_CLOCK=processor takes the processor's time, where others use the machine too. The newest versions of
# PyPI go to build-bench/peers, which may take 5 GB (zentorch with a PyTorch of its own: as much again).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash .ci/install.sh libbenchmark-dev python3-venv
cmake --preset bench
cmake --build --preset bench -j"$(nproc)" --target ours plain_eigen

environment=build-bench/peers
bash .ci/python_environment.sh "$environment" numpy onnx onnxruntime openvino

if ! grep -qs AuthenticAMD /proc/cpuinfo; then
    echo "zentorch is for processors of AMD, and is left out here."
elif bash bench/peers/zentorch.sh build-bench/zentorch; then
    export PEERS_ZENTORCH=$PWD/build-bench/zentorch/bin/python
else
    echo "zentorch cannot be loaded here, and is left out."
fi

mkdir -p bench/results
export PEERS_THREADS=${PEERS_THREADS:-1} PYTHONDONTWRITEBYTECODE=1 PEERS_LIBRARIES=$PWD/build-bench/bench
export OMP_NUM_THREADS=$PEERS_THREADS RING_ATTENTION_NUM_THREADS=$PEERS_THREADS
"$environment/bin/python" bench/peers/compare.py --out bench/results/peers.json "$@"
bash bench/pictures.sh
