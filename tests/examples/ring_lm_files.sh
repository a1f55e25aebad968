#!/usr/bin/env bash
# ring_lm_files.sh PROGRAM FOLDER: what ring_lm, and the other examples in the folder, do with numbers that are none, inputs
# that are not files, and outputs that cannot be written. Says each promise that is broken, and exits with 1.
set -uo pipefail
ring_lm=$1 program=$1 examples=$2 seconds=10
source "$(dirname "${BASH_SOURCE[0]}")/promises.sh"
export RING_ATTENTION_NUM_THREADS=2

small=(--context 32 --batch 2)
train=(train --data text.txt --out x "${small[@]}" --steps 1)
"$ring_lm" train --data text.txt --out good "${small[@]}" --steps 1 >/dev/null || broken "does not train"
weights=good/weights.safetensors
cp $weights before.safetensors

# ---- numbers

for number in nan -inf -1 1e999 0x1p0 1x ''; do
    refuses temperature generate --weights $weights --length 1 --temperature "$number"
    refuses hop schedule --ranks 2 --tokens 64 --hop "$number"
    refuses learning-rate train --data text.txt --out good "${small[@]}" --steps 1 --learning-rate "$number"
done
refuses learning-rate "${train[@]}" --learning-rate 0
refuses learning-rate "${train[@]}" --learning-rate 1e-320
large=99999999999999999999 above=18446744073709551615
for number in $large -1 0x10 1.5 nan 1x ''; do refuses seed "${train[@]}" --seed "$number"; done
for number in $above nan; do
    for option in context batch steps seed report-every replicas threads; do refuses $option "${train[@]}" --$option "$number"; done
    for option in length seed; do refuses $option generate --weights $weights --$option "$number"; done
    refuses max-bytes evaluate --weights $weights --data text.txt --max-bytes "$number"
    for option in ranks tokens; do refuses $option schedule --$option "$number"; done
done
for option in context batch steps report-every replicas; do refuses $option "${train[@]}" --$option 0; done
refuses max-bytes evaluate --weights $weights --data text.txt --max-bytes 0
for option in ranks tokens; do refuses $option schedule --$option 0; done
refuses 'tokens in all' schedule --ranks 64 --tokens 16777216
for option in data out trace; do refuses $option train --data text.txt --out x "${small[@]}" --steps 1 --$option ''; done
"$ring_lm" generate --weights $weights --length 3 --seed 010 >octal.txt
"$ring_lm" generate --weights $weights --length 3 --seed 10 >decimal.txt
cmp -s octal.txt decimal.txt || broken "010 is not 10"
cmp -s $weights before.safetensors || broken "a refused run changed the weights"

# ---- what is read: regular files

mkfifo pipe
mkdir a_folder
for file in pipe a_folder /dev/zero /dev/stdin /proc/cpuinfo; do
    refuses "$file" train --data $file --out x "${small[@]}" --steps 1
    refuses "$file" generate --weights $file
done
refuses pipe evaluate --weights $weights --data pipe
refuses pipe evaluate --weights pipe --data text.txt
refuses 'regular file' evaluate --weights $weights --data <(cat text.txt)
refuses 'regular file' generate --weights <(cat $weights)

# The last number of the last tensor is not finite, or so large that what follows from it is not.
with_last() { { head -c -4 $weights && printf '%b' "$1"; } >bad.safetensors; }
with_last '\x00\x00\x80\xff'
refuses 'not finite' generate --weights bad.safetensors --temperature 0
with_last '\x00\x00\xc0\x7f'
refuses 'not finite' generate --weights bad.safetensors
refuses 'not finite' evaluate --weights bad.safetensors --data text.txt
with_last '\xff\xff\x7f\x7f'
refuses 'not finite' evaluate --weights bad.safetensors --data text.txt
timeout 10 "$ring_lm" generate --weights bad.safetensors >/dev/null 2>err.txt
judged $? 'not finite' "generate with a weight of 3e38"

cp text.txt shrinking.txt
"$ring_lm" train --data shrinking.txt --out shrunk "${small[@]}" --steps 1000000 >out.txt 2>err.txt &
until [[ $(wc -l <out.txt) -gt 1 ]] 2>/dev/null || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
: >shrinking.txt
wait $!
judged $? shrinking.txt "training on a file that becomes empty"

# ---- standard output

full() {
    local code=0
    timeout 10 "$@" >/dev/full 2>err.txt || code=$?
    judged $code 'standard output' "$* >/dev/full"
    code=0
    timeout 10 "$@" >&- 2>err.txt || code=$?
    judged $code 'standard output' "$* >&-"
}
full "$ring_lm" train --data text.txt --out x "${small[@]}" --steps 1
[[ ! -e x/weights.safetensors ]] || broken "what cannot be told is trained all the same"
full "$ring_lm" generate --weights $weights --length 1000000
full "$ring_lm" evaluate --weights $weights --data text.txt
full "$ring_lm" --help
full "$ring_lm" train --help
timeout 10 "$ring_lm" generate --weights $weights --length 1000000 2>err.txt | head -c 1 >/dev/null
[[ ${PIPESTATUS[0]} -eq 141 && ! -s err.txt ]] || broken "generate into a pipe that is closed: $(cat err.txt)"

# ---- files that are written

for file in loss.csv weights.safetensors loss.png; do
    for place in /dev/full "$folder/pipe" "$folder/a_folder"; do
        rm -rf bad && mkdir bad && ln -s "$place" bad/$file
        refuses $file train --data text.txt --out bad "${small[@]}" --steps 1
    done
done
for place in /dev/full pipe a_folder no_such_folder/trace; do refuses $place "${train[@]}" --trace $place; done
refuses 'picture' "${train[@]}" --trace trace.png
for place in /dev/full pipe a_folder no_such_folder/picture.png; do refuses $place schedule --out $place; done

# limited BLOCKS WORD ARGUMENT...: no file may become larger than that, as on a disk that is full
limited() {
    local blocks=$1 word=$2 code=0
    shift 2
    (ulimit -f "$blocks" && timeout 20 "$ring_lm" "$@" >out.txt 2>err.txt) || code=$?
    judged $code "$word" "$@"
}
limited 100 weights.safetensors train --data text.txt --out good "${small[@]}" --steps 2
cmp -s $weights before.safetensors || broken "weights that do not fit on the disk replace others"
if command -v gnuplot >/dev/null; then
    limited 2 picture.png schedule --ranks 2 --tokens 64 --out picture.png
    limited 2 picture.svg schedule --ranks 2 --tokens 64 --out picture.svg
    mkdir bin && printf '#!/bin/sh\nexit 1\n' >bin/gnuplot && chmod +x bin/gnuplot
    PATH=$folder/bin:$PATH refuses 'gnuplot' schedule --ranks 64 --tokens 64
fi

# What can no longer be written after a while is told when the weights are saved.
for file in late/loss.csv trace.json; do
    rm -rf late trace.json
    start "$ring_lm" train --data text.txt --out late "${small[@]}" --steps 100 --report-every 1 --trace trace.json
    until rm -f $file && mkdir $file 2>/dev/null; do :; done  # each report makes the file anew
    wait $job
    judged $? $file "training when $file has become a folder"
    [[ -s late/weights.safetensors ]] || broken "the weights are lost with $file"
done

# ---- the other examples

other() {
    local word=$1 code=0
    shift
    timeout 10 "$@" 2>err.txt </dev/null || code=$?
    judged $code "$word" "$@"
}
for file in pipe a_folder /dev/zero no_such_file; do other "$file" "$examples/ring_equals_dense" $file >/dev/null; done
other 'standard output' "$examples/ring_equals_dense" text.txt >/dev/full
other 'standard output' "$examples/quickstart" >/dev/full
rm -f weights.safetensors && mkdir weights.safetensors
other weights.safetensors "$examples/quickstart" >/dev/null

all_kept "ring_lm takes what it can, and refuses the rest"
