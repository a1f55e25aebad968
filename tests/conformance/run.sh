#!/usr/bin/env bash
# tests/conformance/run.sh: attention against suites that others wrote: ONNX's cases for its operator Attention, and
# PyTorch's samples for scaled_dot_product_attention with their gradients. Prints `N of M` for each, and of each other
# case why; ends with an error where a result is wrong. The newest ONNX and PyTorch of PyPI go to build-bench/peers,
# where bench/peers/run.sh has them too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash .ci/install.sh doctest-dev libcli11-dev libfmt-dev python3-venv
cmake --preset release
cmake --build --preset release -j"$(nproc)" --target conformance_attention

environment=build-bench/peers
# expecttest is what torch.testing needs.
bash .ci/python_environment.sh "$environment" numpy onnx expecttest

PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" tests/conformance/attention.py \
    build/tests/conformance_attention build/tests/conformance
