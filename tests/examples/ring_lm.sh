#!/usr/bin/env bash
# ring_lm.sh PROGRAM: what ring_lm promises on the command line. Exits with 1 at the first promise broken.
set -euo pipefail
ring_lm=$1 program=$1
source "$(dirname "${BASH_SOURCE[0]}")/promises.sh"
broken() { die "$@"; }

: >empty.txt
printf 'x' >one_byte.txt
small=(--context 32 --batch 2 --report-every 2)

# ---- training: files, figures, and a digest that depends on the arguments alone

"$ring_lm" train --data text.txt --out a --steps 4 --seed 1 "${small[@]}" >a.txt
RING_ATTENTION_NUM_THREADS=1 "$ring_lm" train --data text.txt --out deep/b --steps 4 --seed 1 "${small[@]}" >b.txt
"$ring_lm" train --data text.txt --out c --steps 4 --seed 2 "${small[@]}" --threads 3 >c.txt
digest_of() { sed -n 's/^digest \([0-9a-f]\{16\}\)$/\1/p' "$1"; }
[[ -n $(digest_of a.txt) ]] || die "no digest: $(cat a.txt)"
[[ $(digest_of a.txt) == $(digest_of b.txt) ]] || die "two runs, two digests"
[[ $(digest_of a.txt) != $(digest_of c.txt) ]] || die "two seeds, one digest"
cmp -s a/weights.safetensors deep/b/weights.safetensors || die "two runs, two weight files"
grep -Eq '^held-out bits per byte [0-9]+\.[0-9]+$' a.txt || die "no held-out bits per byte: $(cat a.txt)"
grep -Eq '^step 2/4 .*train [0-9.]+, held out [0-9.]+ .*tokens/s .*left$' a.txt || die "no progress: $(cat a.txt)"
[[ $(head -n 1 a/loss.csv) == step,train_bits_per_byte,* ]] || die "loss.csv begins with $(head -n 1 a/loss.csv)"
[[ $(wc -l <a/loss.csv) -eq 3 ]] || die "loss.csv has $(wc -l <a/loss.csv) lines, expected 3"
if command -v gnuplot >/dev/null; then [[ -s a/loss.png ]] || die "no loss.png"; fi

# ---- generating and evaluating

weights=a/weights.safetensors
"$ring_lm" generate --weights $weights --prompt "verse" --length 50 --seed 3 >first.txt
"$ring_lm" generate --weights $weights --prompt "verse" --length 50 --seed 3 >second.txt
"$ring_lm" generate --weights $weights --prompt "verse" --length 50 --seed 4 >third.txt
cmp -s first.txt second.txt || die "one seed, two texts"
! cmp -s first.txt third.txt || die "two seeds, one text"
[[ $(head -c 5 first.txt) == verse && $(wc -c <first.txt) -eq 56 ]] || die "not the prompt, 50 bytes and a line end"
"$ring_lm" generate --weights $weights --prompt "" --length 1 --temperature 0 >/dev/null
"$ring_lm" evaluate --weights $weights --data text.txt >evaluation.txt
grep -Eq '^bits per byte [0-9.]+$' evaluation.txt || die "no bits per byte: $(cat evaluation.txt)"
grep -Eq '^ +16-31 +[0-9.]+$' evaluation.txt || die "nothing by position: $(cat evaluation.txt)"

# ---- the schedule, and a trace

if command -v gnuplot >/dev/null; then
    "$ring_lm" schedule --ranks 3 --layout zigzag --out schedule.png
    [[ -s schedule.png ]] || die "no schedule.png"
fi
"$ring_lm" train --data text.txt --out d --steps 4 --seed 1 "${small[@]}" --trace trace.json >d.txt
[[ $(digest_of a.txt) == $(digest_of d.txt) ]] || die "a trace changes the digest"
grep -q 'seats 0-7 meet 0-7' trace.json || die "no seats in the trace"
grep -q 'backward of step 4' trace.json || die "no last step in the trace"
! grep -q 'backward of step 1"' trace.json || die "the first step in a trace of the last ones"
"$ring_lm" train --data text.txt --out e --steps 2 --seed 1 "${small[@]}" --replicas 2 --layout striped --dropout >e.txt
[[ -n $(digest_of e.txt) ]] || die "no digest: $(cat e.txt)"

# ---- refusals

refuses subcommand
refuses subcommand nonsense
refuses no_such_file train --data no_such_file.txt --out x
refuses empty train --data empty.txt --out x
refuses folder train --data a --out x
refuses 'expected at least' train --data one_byte.txt --out x
refuses 'expected at least' train --data text.txt --out x --context 1000
refuses steps train --data text.txt --out x --steps 0
refuses steps train --data text.txt --out x --steps many
refuses context train --data text.txt --out x --context -5
refuses seed train --data text.txt --out x --seed -1
refuses learning-rate train --data text.txt --out x --learning-rate 0
refuses layout train --data text.txt --out x --layout diagonal
refuses 'multiple of the replicas' train --data text.txt --out x --batch 4 --replicas 3
refuses 'no_such_folder' train --data text.txt --out x --trace no_such_folder/trace.json --steps 1
rm -rf x
refuses surprise train --data text.txt --out x --surprise 1
refuses 'cannot make the folder' train --data text.txt --out text.txt/x
refuses no_such_file generate --weights no_such_file.safetensors
refuses temperature generate --weights $weights --temperature -1
refuses length generate --weights $weights --length -1
head -c 1000 $weights >cut.safetensors
refuses cut.safetensors generate --weights cut.safetensors
refuses text.txt evaluate --weights text.txt --data text.txt
refuses empty evaluate --weights $weights --data empty.txt
refuses one_byte evaluate --weights $weights --data one_byte.txt
[[ ! -e x ]] || die "a refused run left a folder"

"$ring_lm" --help >/dev/null
"$ring_lm" train --help >/dev/null
echo "ring_lm keeps its promises"
