#!/usr/bin/env bash
# The Debian tools a lab in namespaces and the README's examples need: checked always, installed only as root. Says the one command otherwise.
set -euo pipefail
missing=()
need() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing+=("$2"); }
need ip iproute2
need nft nftables
need iptables iptables
need conntrack conntrack
need unshare util-linux
need nsenter util-linux
need setpriv util-linux
need tayga tayga
need curl curl
# Not needed always: topologies with port mapping and captures say it when they miss them. Root gets them all the same.
if [ "$(id -u)" = 0 ]; then
  need miniupnpd miniupnpd-nftables
  need tcpdump tcpdump
fi
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing ${missing[*]} ..." >&2
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q && apt-get install -yq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
else
  echo "These tools are missing. Install them once as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
