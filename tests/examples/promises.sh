# What tests of programs begin with; they source it. A folder of their own, where they are, with text.txt in it. A broken
# promise is said, and counted; who wants to end there has broken() call die.

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder" || exit 1

failures=0
broken() {
    echo "$(basename "$0"): $*" >&2
    failures=$((failures + 1))
}

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# judged CODE WORD COMMAND: it exited with 2 and wrote one line, which says WORD
judged() {
    local code=$1 word=$2
    shift 2
    [[ $code -eq 2 ]] || broken "'$*' exits with $code, expected 2: $(head -n 2 err.txt)"
    [[ $(wc -l <err.txt) -eq 1 ]] || broken "'$*' writes $(wc -l <err.txt) lines on stderr, expected 1"
    grep -q -- "$word" err.txt || broken "'$*' does not say '$word': $(head -n 2 err.txt)"
}

# refuses WORD ARGUMENT...: $program does, in so many $seconds (60), with nothing on stdout
refuses() {
    local word=$1 code=0
    shift
    timeout "${seconds:-60}" "$program" "$@" >out.txt 2>err.txt </dev/null || code=$?
    judged $code "$word" "$@"
    [[ ! -s out.txt ]] || broken "'$*' writes on stdout: $(head -n 1 out.txt)"
}

# start COMMAND...: a training in the background, $job, until it reports its third step
start() {
    : >out.txt  # what the one before reported is not to be read
    "$@" >out.txt 2>err.txt &
    job=$!
    until grep -q 'step 3/' out.txt || ! kill -0 $job 2>/dev/null; do sleep 0.05; done
}

# all_kept PROMISE: the end
all_kept() {
    [[ $failures -eq 0 ]] || exit 1
    echo "$1"
}

for i in $(seq 100); do echo "verse $i: and it came to pass, and the evening and the morning were the day $i."; done >text.txt
