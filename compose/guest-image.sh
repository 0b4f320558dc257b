#!/usr/bin/env bash
# guest-image.sh <folder> <node binary>: a Debian machine small enough for an emulator, as <folder>/vmlinuz and
# <folder>/base.cpio (everything in memory, no disk): Debian's cloud kernel with its network modules, iproute2,
# nftables, util-linux, dash, busybox and Node. <folder>/versions says which. No root is needed.
set -euo pipefail
folder=$(realpath "$1") node=$(realpath "$2")
cd "$(dirname "$0")"
. ./debian.sh

SUITE=bookworm
KERNEL=linux-image-cloud-amd64
PACKAGES=(iproute2 nftables util-linux dash busybox-static libstdc++6)
PROGRAMS=(bin/dash bin/busybox bin/ip sbin/tc usr/sbin/nft usr/bin/unshare usr/bin/nsenter)
# Debian's own sh and tools come first; busybox fills in what only starts and ends the machine.
APPLETS=(bin/cat bin/mount bin/mkdir sbin/modprobe sbin/poweroff)
MODULES=(net lib crypto drivers/net/ifb.ko drivers/net/veth.ko drivers/net/dummy.ko)
LIBRARIES=lib/x86_64-linux-gnu
LOADER=lib64/ld-linux-x86-64.so.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
  echo "The guest is made of Debian packages, and this machine has no apt-get to fetch them with." >&2
  exit 1
}
APT_CONFIG=$(private_apt "$work/apt" "$SUITE")
export APT_CONFIG
quietly apt-get update -q
image=$(apt-cache depends "$KERNEL" | awk '/Depends: linux-image-/ { print $2; exit }')
mkdir "$work/debs"
(cd "$work/debs" && quietly apt-get download "$image")
quietly apt-get install -yq --no-install-recommends --download-only "${PACKAGES[@]}"
unset APT_CONFIG
mv "$work"/apt/cache/archives/*.deb "$work/debs/"

mkdir -p "$work/from"
unpack "$work"/debs/*.deb "$work/from"
from=$work/from root=$work/root
version=$(basename "$from"/lib/modules/*)
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,usr/lib,lib64,dev,proc,sys,run,tmp,etc}
for program in "${PROGRAMS[@]}"; do cp "$from/$program" "$root/$program"; done
install -m 755 "$node" "$root/usr/bin/node"
install -m 755 guest-init.sh "$root/init"
ln -s dash "$root/bin/sh"
for applet in "${APPLETS[@]}"; do ln -s /bin/busybox "$root/$applet"; done
mkdir -p "$root/usr/$LIBRARIES"
# The distributions of jitter.
cp -r "$from/usr/$LIBRARIES/tc" "$root/usr/$LIBRARIES/"
cp -r "$from/etc/iproute2" "$root/etc/"

# Libraries by what the loader itself finds, so that none is missing and none too many.
cp -L "$from/$LOADER" "$root/$LOADER"
mkdir -p "$root/$LIBRARIES"
(
  cd "$from"
  for program in bin/ip sbin/tc usr/sbin/nft usr/bin/nsenter "$root/usr/bin/node"; do
    "$LOADER" --library-path "$LIBRARIES:usr/$LIBRARIES" --list "$program"
  done
) | awk -v folder="$LIBRARIES" '$2 == "=>" && index($3, folder) { print $3 }' | sort -u >"$work/libraries"
while read -r library; do cp -L "$from/$library" "$root/$LIBRARIES/"; done <"$work/libraries"

modules=lib/modules/$version
mkdir -p "$root/$modules"
cp "$from/$modules"/modules.* "$root/$modules/"
for module in "${MODULES[@]}"; do
  mkdir -p "$root/$modules/kernel/$(dirname "$module")"
  cp -r "$from/$modules/kernel/$module" "$root/$modules/kernel/$module"
done
"$root/bin/busybox" depmod -b "$root" "$version"

mkdir -p "$folder"
cp "$from/boot/vmlinuz-$version" "$folder/vmlinuz"
printf 'Debian %s, Linux %s\n' "$SUITE" "$version" >"$folder/versions"
(cd "$work/debs" && ls -- *.deb) >>"$folder/versions"
# The last file to appear: with it there, the image is whole.
(cd "$root" && find . | bin/busybox cpio -o -H newc 2>/dev/null) >"$folder/base.cpio.part"
mv "$folder/base.cpio.part" "$folder/base.cpio"
