#!/bin/sh
# Prints the Python to make the virtual environment with: CPython 3.12, else 3.10 (ttnn has wheels for no other).
# Looks at $PYTHON alone if that is set; otherwise at every folder of PATH, then among pyenv's versions
# ($PYENV_ROOT, ~/.pyenv). None fits: exit 1 and one message with all that was looked at and how to get one.
set -eu

# Runs on any Python since 2.7. ensurepip is missing where Debian's python3.x-venv is not installed.
PROBE='
import platform, sys
try:
    import ensurepip, venv
    pip = "ensurepip"
except ImportError:
    pip = "no-ensurepip"
print("%s %d.%d %s %s %s" % (
    platform.python_implementation(), sys.version_info[0], sys.version_info[1], platform.python_version(), pip, sys.executable))
'

looked=
note() { looked="$looked
  $1: $2"; }

# Sets $kind (such as "CPython 3.12"), $version, $pip and $found; false if FILE does not run as Python.
probe() {
    reply=$("$1" -c "$PROBE" </dev/null 2>/dev/null) || return 1
    set -f
    # shellcheck disable=SC2086  # five words; the path is the last and may hold spaces
    set -- $reply
    set +f
    [ $# -ge 5 ] || return 1
    kind="$1 $2" version=$3 pip=$4
    shift 4
    found=$*
}

# Prints $found and ends if FILE is the version wanted; otherwise notes why not.
try() {
    file=$1 wanted=$2
    if ! probe "$file"; then
        note "$file" "does not run"
    elif [ "$kind" = "CPython $wanted" ] && [ "$pip" = ensurepip ]; then
        printf '%s\n' "$found"
        exit 0
    elif [ "$kind" = "CPython $wanted" ]; then
        note "$file" "is $wanted, but without venv and ensurepip (Debian, Ubuntu: apt install python$wanted-venv)"
    elif [ "$kind" != "CPython 3.12" ] && [ "$kind" != "CPython 3.10" ]; then
        note "$file" "is ${kind% *} $version"
    fi
}

# Says where it LOOKED, what was there and how to get a Python.
fail() {
    cat >&2 <<EOF
ttbringup: found no usable Python. TT-NN (ttnn) has wheels for CPython 3.12 and 3.10 only.
Looked at $1$(printf '%s' "$looked" | awk '!seen[$0]++')
Get one, then run the same command again:
  pyenv install 3.12
  uv python install 3.12                        then: make ... PYTHON="\$(uv python find 3.12)"
  apt install python3.12 python3.12-venv        Ubuntu 24.04; on Ubuntu 22.04 python3.10 python3.10-venv; not in Debian
or name one:  make ... PYTHON=/path/to/python3.12
EOF
    exit 1
}

if [ -n "${PYTHON:-}" ]; then
    if file=$(command -v "$PYTHON"); then
        try "$file" 3.12
        try "$file" 3.10
    else
        note "$PYTHON" "is not a program"
    fi
    fail "PYTHON=$PYTHON:"
fi

# A folder's own name and each link to it are looked at once.
folders=
IFS=:
set -f
for folder in $PATH; do
    real=$(cd -P -- "${folder:-.}" 2>/dev/null && pwd) || continue
    case ":$folders:" in *":$real:"*) ;; *) folders="${folders:+$folders:}$real" ;; esac
done
unset IFS
set +f

pyenv_roots() {
    [ -z "${PYENV_ROOT:-}" ] || printf '%s\n' "$PYENV_ROOT"
    [ -z "${HOME:-}" ] || [ "${PYENV_ROOT:-}" = "$HOME/.pyenv" ] || printf '%s\n' "$HOME/.pyenv"
}

# Interpreters that might be VERSION, best first; newest pyenv patch release first.
candidates() {
    printf '%s\n' "$folders" | tr : '\n' | while IFS= read -r folder; do
        for name in "python$1" python3 python; do
            [ ! -x "$folder/$name" ] || [ -d "$folder/$name" ] || printf '%s\n' "$folder/$name"
        done
    done
    pyenv_roots | while IFS= read -r root; do
        for file in "$root/versions/$1".*/bin/python"$1"; do
            [ ! -x "$file" ] || printf '%s\n' "$file"
        done | sort -rV
    done
}

# A here-document keeps the loop in this shell, so that try can end it.
for wanted in 3.12 3.10; do
    while IFS= read -r file; do
        [ -z "$file" ] || try "$file" "$wanted"
    done <<EOF
$(candidates "$wanted")
EOF
done
fail "python3.12, python3.10, python3 and python on PATH
  ($folders)
and at pyenv's versions in $(pyenv_roots | paste -sd, - | sed 's/,/ and /'):"
