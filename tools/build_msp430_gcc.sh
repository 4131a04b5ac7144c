#!/usr/bin/env bash
# Builds msp430-elf-gcc 12 (C only, small and large memory model, with newlib) from Debian 12's source packages.
# About ten minutes on two cores, 50 MB installed. Needs root or the build packages below already installed.
#
# Usage: tools/build_msp430_gcc.sh PREFIX        then: export FREEML_MSP430_GCC=PREFIX
set -euo pipefail

if [ $# -ne 1 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
prefix=$(realpath -m "$1")
jobs=$(nproc)
mkdir -p "$prefix"
logs=$prefix/log
mkdir -p "$logs"

# Build tools, and the arithmetic libraries that the compiler itself is linked with.
needed=(bison flex texinfo libgmp-dev libmpfr-dev libmpc-dev m4 gawk file xz-utils make g++)
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

# The source packages hold upstream's archives under /usr/src; nothing is installed from them.
apt-get download binutils-source gcc-12-source newlib-source
for package in ./*.deb; do
    dpkg-deb --extract "$package" sources
done
mkdir binutils gcc newlib
tar --extract --strip-components=1 --directory=binutils --file="$(echo sources/usr/src/binutils/binutils-*.tar.xz)"
tar --extract --strip-components=1 --directory=gcc --exclude='*/libgo' --exclude='*/gcc/ada' --exclude='*/libphobos' \
    --file="$(echo sources/usr/src/gcc-12/gcc-12*.tar.xz)"
tar --extract --directory=newlib --file="$(echo sources/usr/src/newlib/newlib-*.tar.xz)"

# newlib is built inside GCC's tree, so that both see the compiler that is being made.
newlib=$(find "$work/newlib" -maxdepth 3 -type d -path '*/libgloss' -printf '%h\n' -quit)
ln -s "$newlib/newlib" "$newlib/libgloss" gcc/

# Of the variants of the run-time libraries only two are wanted: small, and large with data anywhere.
sed -i -e '/^MULTILIB_REQUIRED/d' \
    -e '/^MULTILIB_EXTRA_OPTS/i MULTILIB_REQUIRED = mlarge mlarge/mdata-region=none\n' gcc/gcc/config/msp430/t-msp430

export PATH="$prefix/bin:$PATH"
common=(--prefix="$prefix" --target=msp430-elf --disable-nls --disable-werror)
host_flags=(CFLAGS='-O1 -g0 -pipe' CXXFLAGS='-O1 -g0 -pipe' MAKEINFO=true)

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

mkdir build-binutils build-gcc
cd "$work/build-binutils"
stage binutils-configure ../binutils/configure "${common[@]}" "${host_flags[@]}" \
    --disable-gdb --disable-sim --disable-gprofng --disable-gprof
stage binutils-build make -j"$jobs" MAKEINFO=true
stage binutils-install make MAKEINFO=true install-strip

cd "$work/build-gcc"
stage gcc-configure ../gcc/configure "${common[@]}" "${host_flags[@]}" \
    CFLAGS_FOR_TARGET='-Os -ffunction-sections -fdata-sections' \
    --enable-languages=c --with-newlib --enable-checking=release --enable-target-optspace \
    --disable-libssp --disable-libquadmath --disable-libgomp --disable-lto --disable-shared --disable-threads \
    --disable-plugin --without-isl \
    --enable-newlib-nano-malloc --enable-newlib-nano-formatted-io --enable-newlib-reent-small --enable-lite-exit \
    --enable-newlib-global-atexit
stage gcc-build make -j"$jobs" MAKEINFO=true all-gcc
# Debian's archive lacks the manual that these two are checked against; being newest, they are left alone.
touch gcc/s-tm-texi gcc/tm.texi
stage gcc-install make MAKEINFO=true install-strip-gcc
stage libraries-build make -j"$jobs" MAKEINFO=true all-target-libgcc all-target-newlib all-target-libgloss
stage libraries-install make MAKEINFO=true install-target-libgcc install-target-newlib install-target-libgloss

"$prefix/bin/msp430-elf-gcc" --version | head -n 1
echo "ready: export FREEML_MSP430_GCC=$prefix"
