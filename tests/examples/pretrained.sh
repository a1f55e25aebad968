#!/usr/bin/env bash
# pretrained.sh PROGRAM MODEL GOLDEN TOOL [MPIRUN...]: what the program of a published model promises. MODEL is the folder
# that TOOL (pretrained_golden) made of the golden file GOLDEN. Exits with 1 at the first promise broken.
set -euo pipefail
program=$1 model=$2 golden=$3 tool=$4
shift 4
mpirun=("$@")
source "$(dirname "${BASH_SOURCE[0]}")/promises.sh"
broken() { die "$@"; }

# refuses_wholly WORD ARGUMENT...: and leaves no result
refuses_wholly() {
    refuses "$@"
    [[ ! -e refused && ! -e refused.safetensors ]] || die "'$*' leaves a result"
}

# ---- evaluate: what the golden file says, and the same bits however many take part

launched_on() {  # launched_on RANKS: 0: without a launcher
    launch=()
    [[ $1 -eq 0 ]] || launch=("${mpirun[@]}" -n "$1")
}
on() {  # on RANKS ARGUMENT...
    local ranks=$1
    shift
    launched_on "$ranks"
    timeout 120 "${launch[@]}" "$program" "$@" 2>err.txt || die "'$*' on $ranks ranks: $(cat err.txt)"
}
ranks=(0)
[[ ${#mpirun[@]} -eq 0 ]] || ranks+=(1 3)

"$tool" inputs .
for n in "${ranks[@]}"; do
    on "$n" evaluate --input "$model/input.safetensors" --output "g$n.safetensors" --gradients >out.txt
    [[ ! -s out.txt && ! -s err.txt ]] || die "evaluate says $(cat out.txt err.txt)"
    cmp -s g0.safetensors "g$n.safetensors" || die "other results on $n ranks"
done
"$tool" compare "$golden" g0.safetensors gradients || die "other results than the golden file"
on 0 evaluate --input "$model/input.safetensors" --output plain.safetensors --threads 2
"$tool" compare "$golden" plain.safetensors >out.txt || die "other results without gradients"
on 0 evaluate --input padded.safetensors --output padded_output.safetensors --gradients

# ---- generate: the numbers in one line, how fast beside it

for n in "${ranks[@]}"; do
    on "$n" generate --tokens "1 2, 3 4 5 6 7 8 9 10 11 12 13" --length 12 >"greedy$n.txt"
    grep -q '^prefill: 13 tokens, [0-9.]* tokens/s$' err.txt || die "no speed of the prompt: $(cat err.txt)"
    grep -q '^token by token: 11 tokens, [0-9.]* tokens/s$' err.txt || die "no speed of tokens: $(cat err.txt)"
    cmp -s greedy0.txt "greedy$n.txt" || die "other tokens on $n ranks: $(cat greedy0.txt "greedy$n.txt")"
    on "$n" generate --tokens 7 --length 5 --temperature 1 --seed 3 >"drawn$n.txt"
    cmp -s drawn0.txt "drawn$n.txt" || die "other tokens drawn on $n ranks"
done
[[ $(wc -l <greedy0.txt) -eq 1 && $(wc -w <greedy0.txt) -eq 12 ]] || die "not 12 tokens: $(cat greedy0.txt)"
# What is generated in one go is what is generated after a part of it.
on 0 generate --tokens "1 2 3 4 5 6 7 8 9 10 11 12 13 $(cut -d ' ' -f 1-5 greedy0.txt)" --length 7 >rest.txt
[[ $(cat rest.txt) == "$(cut -d ' ' -f 6-12 greedy0.txt)" ]] || die "other tokens after a longer prompt"
on 0 generate --tokens 7 --length 5 --temperature 1 --seed 4 >other.txt
! cmp -s drawn0.txt other.txt || die "two seeds, the same tokens"
on 0 generate --tokens 7 --length 0 >none.txt

# ---- train: the loss falls, and the folder is a model as published, which goes on from there

train=(train --context 8 --batch 2 --warmup-steps 2 --learning-rate 0.01 --seed 1)
twelve=("${train[@]}" --steps 12 --report-every 6)
for n in "${ranks[@]}"; do
    on "$n" "${twelve[@]}" --data text.safetensors --out "trained$n" >"train$n.txt"
    cmp -s trained0/model.safetensors "trained$n/model.safetensors" || die "other weights on $n ranks"
done
grep -q '^step 12/12  loss [0-9.]*  ' train0.txt || die "no progress: $(cat train0.txt)"
loss() { sed -En "s|^step $2/.* loss ([0-9.]+) .*|\1|p" "$1"; }
awk "BEGIN { exit !($(loss train0.txt 12) < 0.8 * $(loss train0.txt 6)) }" || die "the loss does not fall: $(cat train0.txt)"
on 0 evaluate --model trained0 --input "$model/input.safetensors" --output trained.safetensors
! cmp -s plain.safetensors trained.safetensors || die "training has changed nothing"
on 0 "${twelve[@]}" --data texts.safetensors --out again --model trained0 >again.txt
awk "BEGIN { exit !($(loss again.txt 6) < $(loss train0.txt 6)) }" || die "training does not go on: $(cat again.txt)"

# ---- train: what ends it early

# start_on RANKS ARGUMENT...: an endless training, until it reports
start_on() {
    launched_on "$1"
    start "${launch[@]}" "$program" "${train[@]}" --steps 1000000 --report-every 3 --data text.safetensors "${@:2}"
}

# saved SIGNAL FOLDER: it ends, and the model that it says is there goes on
saved() {
    local code=0
    timeout 20 tail --pid=$job -f /dev/null || kill -KILL $job
    wait $job || code=$?
    [[ $code -eq $((128 + $(kill -l "$1"))) ]] || die "SIG$1: exit code $code: $(cat err.txt)"
    grep -q "^stopped by SIG$1 after step [0-9]* of 1000000; the model is in $2\$" err.txt || die "SIG$1: $(cat err.txt)"
    ! grep -q digest out.txt || die "SIG$1: a digest"
    on 0 evaluate --model "$2" --input "$model/input.safetensors" --output stopped.safetensors
}

for signal in INT TERM HUP; do
    start_on 0 --out $signal
    kill -$signal $job
    saved $signal $signal
done
if [[ ${#mpirun[@]} -gt 0 ]]; then
    start_on 3 --out rank1
    kill -TERM "$(pgrep -P $job -f report-every | sed -n 2p)"
    saved TERM rank1
fi

# Weights that are not finite never replace weights that are.
"$tool" overflow "$model" huge
cp -r trained0 kept
for n in "${ranks[@]}"; do
    launched_on "$n"
    ! timeout 60 "${launch[@]}" "$program" "${train[@]}" --steps 1 --data text.safetensors --model huge --out kept \
        >out.txt 2>err.txt || die "weights that are not finite are saved"
    grep -q "the weights are not saved: .* has a number that is not finite" err.txt || die "not finite: $(cat err.txt)"
    cmp -s trained0/model.safetensors kept/model.safetensors || die "weights that are not finite replace others"
done

# ---- what does not fit

evaluate=(evaluate --output refused.safetensors --input)
refuses_wholly "nowhere" "${evaluate[@]}" nowhere.safetensors
refuses_wholly "input_ids" "${evaluate[@]}" no_ids.safetensors
refuses_wholly "61 at \[1, 1\], expected 0 to 60" "${evaluate[@]}" high.safetensors
refuses_wholly "-3 at \[0, 2\]" "${evaluate[@]}" negative.safetensors
refuses_wholly "at least one token" "${evaluate[@]}" no_tokens.safetensors
refuses_wholly "expected \[batch, seq\]" "${evaluate[@]}" of_three_axes.safetensors
refuses_wholly "F32, expected I64" "${evaluate[@]}" floats.safetensors
refuses_wholly "behind a 0 at \[0, 1\]" "${evaluate[@]}" front.safetensors
refuses_wholly "2 at \[0, 2\], expected 0 to 1" "${evaluate[@]}" twos.safetensors
refuses_wholly "attention_mask has shape \[3, 2\], expected \[2, 3\]" "${evaluate[@]}" other_mask.safetensors
refuses_wholly "token_type_ids has 1 at" "${evaluate[@]}" types.safetensors
refuses_wholly "loss_weight has shape" "${evaluate[@]}" few_weights.safetensors
refuses_wholly "missing/" evaluate --input padded.safetensors --output missing/x.safetensors
refuses_wholly "nowhere" "${evaluate[@]}" padded.safetensors --model nowhere
refuses_wholly "'61', expected" generate --tokens "1 61"
refuses_wholly "'x', expected" generate --tokens "1 x"
refuses_wholly "expected a token" generate --tokens ""
refuses_wholly "length" generate --tokens 1 --length -1
refuses_wholly "of 200" train --data text.safetensors --out refused --context 200
refuses_wholly "see --help" train --data text.safetensors
refuses_wholly "subcommand" nothing

cp -r "$model" other
sed -i 's/"intermediate_size": *[0-9]*/"intermediate_size": 41/' other/config.json
refuses_wholly "intermediate_size" "${evaluate[@]}" padded.safetensors --model other
cp "$model/config.json" other
truncate -s -4 other/model.safetensors
refuses_wholly "model.safetensors" "${evaluate[@]}" padded.safetensors --model other

if [[ ${#mpirun[@]} -gt 0 ]]; then
    ! timeout 60 "${mpirun[@]}" -n 3 "$program" "${evaluate[@]}" high.safetensors >out.txt 2>err.txt ||
        die "3 ranks take token 61"
    grep -q "expected 0 to 60" err.txt || die "3 ranks do not say what is wrong: $(cat err.txt)"
fi
