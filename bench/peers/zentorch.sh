#!/usr/bin/env bash
# bench/peers/zentorch.sh FOLDER: a virtual environment in FOLDER with zentorch and the PyTorch that it was made for, which
# is that of its own version without the last number. Ends with an error where zentorch cannot be loaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
environment=$1
python=$environment/bin/python
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

[[ -x $python ]] || python3 -m venv "$environment"
install numpy deprecated safetensors  # what zentorch requires, but for PyTorch
install --no-deps zentorch
version=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("zentorch"))')
install --no-deps "torch==${version%.*}"
bash .ci/python_environment.sh "$environment" numpy  # what torch requires
"$python" -c 'import torch, zentorch; torch.ops.zentorch.zentorch_sdpa'
