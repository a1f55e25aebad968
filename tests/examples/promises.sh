# What tests that say each broken promise begin with; they source it. A folder of their own, where they are, with text.txt in it.

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder" || exit 1

failures=0
broken() {
    echo "$(basename "$0"): $*" >&2
    failures=$((failures + 1))
}

# all_kept PROMISE: the end
all_kept() {
    [[ $failures -eq 0 ]] || exit 1
    echo "$1"
}

for i in $(seq 100); do echo "verse $i: and it came to pass, and the evening and the morning were the day $i."; done >text.txt
