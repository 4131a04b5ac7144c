#!/usr/bin/env bash
# Builds GDB 13's simulator for the MSP430 (msp430-elf-run) from Debian 12's source package, for the tests that check
# the project's own simulator against it. A few minutes on one core, 4 MB installed.
# Needs root or the build packages below already installed.
#
# Usage: tools/build_gdb_sim.sh PREFIX        then: export FREEML_MSP430_SIM=PREFIX/bin/msp430-elf-run
set -euo pipefail

if [ $# -ne 1 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
prefix=$(realpath -m "$1")
jobs=${JOBS:-$(nproc)}
mkdir -p "$prefix/bin"
logs=$prefix/log
mkdir -p "$logs"

needed=(file xz-utils make gcc libc6-dev)
missing=()
for package in "${needed[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get install --yes --no-install-recommends "${missing[@]}"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# The source package holds upstream's archive under /usr/src; nothing is installed from it.
apt-get download gdb-source
dpkg-deb --extract ./gdb-source_*.deb sources
# The simulator and the libraries under it; the debugger itself, nine tenths of the archive, is left out.
mkdir gdb
tar --extract --strip-components=1 --directory=gdb --exclude='*/gdb/testsuite' --exclude='*/sim/testsuite/*/*' \
    --file="$(echo sources/usr/src/gdb.tar.*)"

# A stage's output goes to a log, whose end is shown when the stage fails.
stage() {
    local name=$1
    shift
    echo "$name ..."
    "$@" >"$logs/$name.log" 2>&1 || {
        tail -n 30 "$logs/$name.log" >&2
        echo "error: $name failed; the whole log is $logs/$name.log" >&2
        exit 1
    }
}

mkdir build
cd build
stage configure ../gdb/configure --prefix="$prefix" --target=msp430-elf --enable-sim \
    --disable-gdb --disable-gdbserver --disable-nls --disable-werror --disable-libctf --disable-readline \
    --disable-gdbsupport --disable-libdecnumber --without-system-readline \
    CFLAGS='-O2 -g0 -pipe' CXXFLAGS='-O2 -g0 -pipe' MAKEINFO=true
stage build make -j"$jobs" MAKEINFO=true all-sim
strip -o "$prefix/bin/msp430-elf-run" sim/msp430/run

"$prefix/bin/msp430-elf-run" --version | head -n 1
echo "ready: export FREEML_MSP430_SIM=$prefix/bin/msp430-elf-run"
