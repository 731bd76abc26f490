#!/bin/sh
# Provides what only the system's package manager can: a compiler, headers, the venv module.
# As root on Debian it installs what is missing; otherwise it says in one line which packages to install.
#   system.sh venv PYTHON      the venv module of PYTHON
#   system.sh headers PYTHON   the compiler and the headers the native modules include
#   system.sh redis PYTHON     redis-server, for tests
#   system.sh pgbouncer PYTHON pgbouncer, for tests
set -eu

have_header() { # header, extra include path
    printf '#include <%s>\n' "$1" | ${CC:-cc} ${2:+"-I$2"} -E - >/dev/null 2>&1
}

missing_for_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

missing_for_build() {
    cc=${CC:-cc}  # may have arguments, as in CC="ccache gcc"
    command -v "${cc%% *}" >/dev/null || { echo build-essential python3-dev libnghttp2-dev libssl-dev zlib1g-dev; return; }
    have_header nghttp2/nghttp2.h || echo libnghttp2-dev
    have_header openssl/evp.h || echo libssl-dev
    have_header zlib.h || echo zlib1g-dev
    have_header Python.h "$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')" || echo python3-dev
}

install() {
    "$(dirname "$0")/step.sh" "$*, by apt-get" sh -c '
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq "$@" >/dev/null 2>&1 && exit
        apt-get update -qq && apt-get install -y -qq "$@" >/dev/null' install "$@"
}

python=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "prism: Python 3.11 or newer is needed, '$python' is older; choose one with make PYTHON=..." >&2
    exit 1
}
case $1 in
    venv) packages=$(missing_for_venv "$python") ;;
    headers) packages=$(missing_for_build "$python") ;;
    redis) packages=$(command -v redis-server >/dev/null || echo redis-server) ;;
    pgbouncer) packages=$(PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || echo pgbouncer) ;;
    *) echo "usage: $0 venv|headers|redis|pgbouncer PYTHON" >&2; exit 2 ;;
esac
packages=$(echo $packages)
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086
    install $packages
else
    echo "prism: missing system packages: apt-get install $packages" >&2
    exit 1
fi
