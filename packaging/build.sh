#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Builds the Debian packages of the tree this lies in: packaging/build.sh FOLDER. It works on a copy in FOLDER/source and
# leaves the packages in FOLDER. The version is that of include/scoot/version.h, and debian/changelog is made from it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$1"
out=$(cd "$1" && pwd)
version=$(sed -n 's/^#define SCOOT_VERSION "\(.*\)"/\1/p' include/scoot/version.h)
# Of the last commit, so that the same sources make the same packages.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
export SOURCE_DATE_EPOCH

rm -f "$out"/*.deb "$out"/*.buildinfo "$out"/*.changes
# Afresh, since times tell nothing of copies; ccache has the objects.
rm -rf "$out/source"
mkdir -p "$out/source"
tar --exclude=./build --exclude=node_modules --exclude=./.git -cf - . | tar -C "$out/source" -xf -
cat >"$out/source/debian/changelog" <<END
scoot ($version) unstable; urgency=medium

  * See CHANGELOG.md.

 -- The Scoot authors <scoot@packages.debian.org>  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
cd "$out/source"
if [ -d /usr/lib/ccache ]; then
  export PATH="/usr/lib/ccache:$PATH" CCACHE_BASEDIR="$out/source" CCACHE_NOHASHDIR=1
fi
dpkg-buildpackage --build=binary --no-sign --no-pre-clean --no-check-builddeps "${@:2}"
