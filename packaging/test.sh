#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Installs the packages of FOLDER into a clean Debian, made by debootstrap below FOLDER, and uses them there: nothing
# starts by itself, scootd serves as its own user, programs in C and C++ are built against the libraries by pkg-config and
# CMake, an upgrade keeps the configuration, purging leaves nothing. packaging/test.sh FOLDER [MIRROR]. Needs root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
packages=$(cd "$1" && pwd)
mirror=${2:-http://deb.debian.org/debian}
base=$packages/base.tar
root=$packages/root
[ "$(id -u)" = 0 ] || { echo "packaging/test.sh: needs root, for a root of its own" >&2; exit 77; }

rm -rf "$root"
mkdir -p "$root"
if [ ! -f "$base" ]; then
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$packages/debootstrap.log" ||
    { tail -n 20 "$packages/debootstrap.log" >&2; exit 1; }
  cp /etc/resolv.conf "$root/etc/"
  # The machine's own ways to a mirror, if it has any.
  find /etc/apt/apt.conf.d -name '99*' -exec cp {} "$root/etc/apt/apt.conf.d/" \;
  chroot "$root" apt-get -q -y --no-install-recommends install g++ gcc cmake make pkgconf systemd procps >>"$packages/debootstrap.log"
  tar -C "$root" -cf "$base.new" . && mv "$base.new" "$base"
else
  tar -C "$root" -xf "$base"
fi
mkdir -p "$root/packages" "$root/consumer"
cp "$packages"/*.deb "$root/packages/"
rm -f "$root"/packages/*-dbgsym_*
cp tests/build/consumer/* "$root/consumer/"
# The README's example is one of the programs.
awk '/^```cpp$/ { on = 1; next } /^```$/ { if (on) exit } on' README.md >"$root/consumer/readme.cpp"

cat >"$root/steps" <<'END'
set -eu
step() { printf -- '-- %s\n' "$*"; }
die() { printf 'failed: %s\n' "$*" >&2; exit 1; }
answer() { # of a scootd on port 21211 to one line
  exec 3<>/dev/tcp/127.0.0.1/21211 && printf '%b' "$1" >&3 && timeout 10 head -n 1 <&3 && exec 3>&-
}

step "installation"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -y --no-install-recommends install /packages/*.deb >/install.log 2>&1 || { tail -n 40 /install.log; die "installation"; }
getent passwd scootd >/dev/null || die "no user scootd"
! pgrep -x scootd >/dev/null || die "scootd was started"
[ "$(systemctl is-enabled scootd.service || true)" = disabled ] || die "scootd.service is enabled"
[ "$(systemctl is-enabled scootd.socket || true)" = disabled ] || die "scootd.socket is enabled"

step "scootd serves as its user"
scootd --config=/etc/scootd.conf -u scootd -p 21211 --http 127.0.0.1:21280 2>/scootd.log &
server=$!
for _ in $(seq 100); do if answer 'version\r\n' >/answer 2>/dev/null; then break; fi; sleep 0.1; done
grep -q '^VERSION' /answer || { cat /scootd.log; die "no answer"; }
[ "$(ps -o user= -p $server)" = scootd ] || die "it is not the user scootd"
[ "$(answer 'set a 0 0 1\r\nx\r\n')" = "$(printf 'STORED\r')" ] || die "set"
exec 4<>/dev/tcp/127.0.0.1/21280 && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&4 && timeout 10 cat <&4 >/metrics && exec 4>&-
grep -q '^scootd_items 1$' /metrics || { cat /metrics; die "metrics over HTTP"; }
scoot-bench --help >/dev/null
scoot-bench record /trace cat /steps >/dev/null 2>/record.log && grep -q operations /record.log || { cat /record.log; die "scoot-bench record"; }
scoot --help >/dev/null
man_pages=$(dpkg -L scootd scoot-tools libscoot-dev | grep -c '/man[13]/') && [ "$man_pages" -gt 3 ] || die "man pages"

step "programs by pkg-config"
cd /consumer
gcc -std=c11 heap.c -o heap_c $(pkg-config --cflags --libs scoot) && ./heap_c
g++ -std=c++20 heap.cpp -o heap_cpp $(pkg-config --cflags --libs scoot) && ./heap_cpp
g++ -std=c++20 cache.cpp -o cache_cpp $(pkg-config --cflags --libs scoot-cache) && ./cache_cpp
ldd heap_c | grep -q 'libscoot.so.1' || die "it is not linked with libscoot.so.1"

step "programs by CMake"
mkdir build && cp readme.cpp build/
cmake -S . -B build -DWAY=find_package >/cmake.log && cmake --build build >>/cmake.log || { cat /cmake.log; die "cmake"; }
for program in heap_cxx heap_cxx_shared heap_c heap_c_shared readme cache_cxx; do build/$program >/dev/null || die "$program"; done

step "upgrade keeps the configuration and the server that runs"
sed -i 's/^#memory-limit = .*/memory-limit = 32/' /etc/scootd.conf
dpkg --install /packages/*.deb >/upgrade.log 2>&1 || { tail -n 40 /upgrade.log; die "upgrade"; }
grep -q '^memory-limit = 32' /etc/scootd.conf || die "the configuration is lost"
answer 'version\r\n' | grep -q '^VERSION' || die "the server is gone"
kill -HUP $server
for _ in $(seq 50); do if grep -q 'memory-limit is 32' /scootd.log; then break; fi; sleep 0.1; done
grep -q 'memory-limit is 32' /scootd.log || { cat /scootd.log; die "no reload"; }
kill $server && wait $server || die "its end"

step "purging leaves nothing"
apt-get -q -y purge scootd scoot-tools libscoot-dev libscoot1 >/purge.log 2>&1 || { tail -n 40 /purge.log; die "purge"; }
left=$(find /etc /usr /lib /var/lib/systemd -name '*scoot*' ! -path '/usr/share/doc/*' | head)
[ -z "$left" ] || die "left: $left"
END
unshare --mount --pid --fork --kill-child chroot "$root" /bin/bash -c 'mount -t proc proc /proc && exec bash /steps'
rm -rf "$root"
echo "packages: installed, used, upgraded and purged in a clean Debian"
