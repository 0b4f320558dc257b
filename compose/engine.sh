#!/usr/bin/env bash
# make docker-engine: a Docker engine with Compose v2 on a Debian machine, as root. Does only what is missing, says
# each step, can be run again at any time. An engine that answers is left as it is.
set -euo pipefail
cd "$(dirname "$0")"
. ./debian.sh

COMPOSE_AT_LEAST=2.20.0
# The first Debian suite whose docker-compose is version 2; its plugins need only libc 2.34.
PLUGIN_SUITE=trixie
ENGINE_LOG=/var/log/warren-dockerd.log
ENGINE_START_SECONDS=60
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '%s\n' "$*" >&2; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }
newer() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -1)" = "$1" ]; }
engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }
compose_version() { docker compose version --short 2>/dev/null | sed 's/^v//' || true; }
compose_good() { local v; v=$(compose_version); [ -n "$v" ] && newer "$v" "$COMPOSE_AT_LEAST"; }

need_debian_root() {
  [ "$(id -u)" = 0 ] || { say "$1 Run this once as root: sudo make docker-engine"; exit 1; }
  command -v apt-get >/dev/null || { say "$1 This is not a Debian machine: install Docker Engine with Compose v2 your system's way."; exit 1; }
}

install_engine() {
  need_debian_root "The Docker engine is missing."
  say "Installing Docker from Debian ..."
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get update -q
  local packages=(docker.io iptables) more
  # Newer suites keep the command line in packages of their own.
  for more in docker-cli docker-compose docker-buildx; do
    local candidate
    candidate=$(apt-cache policy "$more" | awk '$1 == "Candidate:" { print $2 }')
    case $more:$candidate in
      *:'' | *:'(none)' | docker-compose:1.*) ;;
      *) packages+=("$more") ;;
    esac
  done
  quietly apt-get install -yq --no-install-recommends "${packages[@]}"
}

start_engine() {
  need_debian_root "The Docker engine does not answer."
  if [ -d /run/systemd/system ]; then
    say "Starting Docker (systemd) ..."
    quietly systemctl enable --now docker
  else
    say "Starting dockerd in the background, its log is $ENGINE_LOG ..."
    # A pid file of an engine that was killed keeps the next one from starting.
    if [ -s /run/docker.pid ] && ! kill -0 "$(cat /run/docker.pid)" 2>/dev/null; then rm -f /run/docker.pid; fi
    setsid nohup dockerd >>"$ENGINE_LOG" 2>&1 </dev/null &
  fi
  local left=$((ENGINE_START_SECONDS * 5))
  until engine_answers >/dev/null; do
    left=$((left - 1))
    [ $left -gt 0 ] || {
      say "The engine does not answer after $ENGINE_START_SECONDS s. Its last words:"
      tail -n 15 "$ENGINE_LOG" >&2 2>/dev/null || journalctl -u docker -n 15 --no-pager >&2 || true
      exit 1
    }
    sleep 0.2
  done
}

install_plugins() {
  command -v apt-get >/dev/null || need_debian_root "Docker Compose v2 is missing."
  local folder=${DOCKER_CONFIG:-${HOME:-/root}/.docker}/cli-plugins config
  [ "$(id -u)" != 0 ] || folder=/usr/local/lib/docker/cli-plugins
  say "Fetching Docker Compose v2 and buildx from Debian $PLUGIN_SUITE ..."
  config=$(private_apt "$work/apt" "$PLUGIN_SUITE")
  export APT_CONFIG=$config
  quietly apt-get update -q
  (cd "$work" && quietly apt-get download docker-compose docker-buildx)
  unset APT_CONFIG
  mkdir -p "$work/root" "$folder"
  unpack "$work"/*.deb "$work/root"
  install -m 755 "$work"/root/usr/libexec/docker/cli-plugins/docker-{compose,buildx} "$folder/"
}

if ! command -v dockerd >/dev/null && ! engine_answers >/dev/null; then install_engine; fi
engine_answers >/dev/null || start_engine
compose_good || install_plugins
compose_good || { say "Compose $(compose_version) is older than $COMPOSE_AT_LEAST and another plugin hides the new one: see 'docker info'."; exit 1; }
say "Docker $(engine_answers) with Compose $(compose_version) is ready."
