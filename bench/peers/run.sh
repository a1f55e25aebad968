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
python=$environment/bin/python
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

# What torch says that it requires, but for compilers for GPUs: with `gpu` the libraries for GPUs, with `cpu` the rest.
torch_requires() {
    "$python" -c 'if True:
        import importlib.metadata, sys
        for line in importlib.metadata.requires("torch"):
            if "extra ==" not in line and not line.startswith(("triton", "cuda-bindings")):
                if line.startswith(("cuda", "nvidia")) == (sys.argv[1] == "gpu"):
                    print(line)' "$1"
}

# PyPI has one torch for each processor, and that for x86 is linked against libraries for GPUs. They are 3 GB and do
# nothing here, so torch is tried without them first; where it cannot be loaded so, they have to come.
if ! "$python" -c "import torch, onnxruntime, onnx" 2>/dev/null; then
    python3 -m venv "$environment"
    install numpy onnx onnxruntime
    install --no-deps torch
    torch_requires cpu | install -r /dev/stdin
    if ! "$python" -c "import torch" 2>/dev/null; then
        echo "PyTorch cannot be loaded without the libraries for GPUs: installing these (3 GB)."
        echo "That pip then misses triton and cuda-bindings is meant: nothing here compiles for GPUs."
        torch_requires gpu | install -r /dev/stdin
    fi
fi

mkdir -p bench/results
export OMP_NUM_THREADS=1 RING_ATTENTION_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 PEERS_LIBRARIES=$PWD/build-bench/bench
"$python" bench/peers/compare.py --out bench/results/peers.json "$@"
bash bench/pictures.sh
