#!/usr/bin/env bash
# leg-packages.sh <status file of the base> <folder>: fetches the network tools that the leg image has beside its base,
# from this machine's own Debian mirror, and unpacks them into <folder>/usr and <folder>/etc. No root is needed.
set -euo pipefail
status=$(realpath "$1") folder=$(realpath "$2")
cd "$(dirname "$0")"
. ./debian.sh

SUITE=bookworm
PACKAGES=(iproute2 nftables iptables conntrack tayga miniupnpd-nftables tcpdump)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
  echo "The leg image's tools are Debian packages, and this machine has no apt-get to fetch them with." >&2
  exit 1
}
APT_CONFIG=$(private_apt "$work/apt" "$SUITE" "$status")
export APT_CONFIG
quietly apt-get update -q
quietly apt-get install -yq --no-install-recommends --download-only "${PACKAGES[@]}"
unset APT_CONFIG

# Links as on any merged-/usr system, so that what a package puts under /sbin lands in /usr/sbin.
mkdir -p "$work/root"/{usr/{bin,sbin,lib,lib64},etc}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$work/root/$name"; done
unpack "$work"/apt/cache/archives/*.deb "$work/root"
rm -rf "$work"/root/usr/share/{doc,man,locale,info,lintian,bug}
# What update-alternatives would have linked.
for name in ip{,6}tables{,-restore,-save}; do ln -sf xtables-nft-multi "$work/root/usr/sbin/$name"; done
rm -rf "$folder"/{usr,etc}
mv "$work/root/usr" "$work/root/etc" "$folder/"
