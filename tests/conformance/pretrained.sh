#!/usr/bin/env bash
# tests/conformance/pretrained.sh: models that Hugging Face's transformers writes are read and written by the library,
# and read by transformers again. Prints `N of M`; ends with an error where a weight or an output differs. The newest
# transformers and PyTorch of PyPI go to build-bench/peers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash .ci/install.sh doctest-dev libcli11-dev libfmt-dev python3-venv
cmake --preset release
cmake --build --preset release -j"$(nproc)" --target conformance_pretrained

environment=build-bench/peers
bash .ci/python_environment.sh "$environment" numpy safetensors transformers

PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" tests/conformance/pretrained.py \
    build/tests/conformance_pretrained build/tests/pretrained
