#!/usr/bin/env bash
# install.sh PACKAGE...: installs these Debian packages and those that the library itself needs. Asks for nothing
# when all are there.
set -euo pipefail

is_there() {
    case $1 in
        g++ | cmake | make) command -v "$1" ;;
        clang) command -v clang++ ;;
        bible-kjv) command -v bible ;;
        libopenmpi-dev) command -v mpicxx ;;  # any MPI will do
        openmpi-bin) command -v mpiexec ;;
        gnuplot-nox) command -v gnuplot ;;
        *) [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>&1) == installed ]] ;;
    esac >/dev/null 2>&1
}

missing=()
for package in g++ cmake make libeigen3-dev nlohmann-json3-dev librandom123-dev "$@"; do
    is_there "$package" || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "No apt-get here: make sure that you have what Debian calls ${missing[*]}" >&2
    exit 0
fi
as_root=(env DEBIAN_FRONTEND=noninteractive)
if [[ $EUID -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "Neither root nor sudo: have somebody install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo "${as_root[@]}")
fi
echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}"
