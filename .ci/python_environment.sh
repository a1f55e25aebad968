#!/usr/bin/env bash
# python_environment.sh FOLDER PACKAGE...: a virtual environment in FOLDER with these packages of PyPI, and torch. Those
# that are there stay as they are. It may take 5 GB.
set -euo pipefail
environment=$1
shift
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

is_there() { "$python" -c "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]" "$@" 2>/dev/null; }

if ! is_there "$@"; then
    [[ -x $python ]] || python3 -m venv "$environment"
    install "$@"
fi

# PyPI has one torch for each processor, and that for x86 is linked against libraries for GPUs. They are 3 GB and do
# nothing here, so torch is tried without them first; where it cannot be loaded so, they have to come.
if ! is_there torch; then
    echo "Installing PyTorch. That pip then misses libraries for GPUs is meant."
    install --no-deps torch
    torch_requires cpu | install -r /dev/stdin
    if ! is_there torch; then
        echo "PyTorch cannot be loaded without the libraries for GPUs: installing these (3 GB), but for triton and"
        echo "cuda-bindings, since nothing here compiles for GPUs."
        torch_requires gpu | install -r /dev/stdin
    fi
fi
