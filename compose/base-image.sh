#!/usr/bin/env bash
# Makes sure that the base image is on this engine. Where a registry answers, the official one is pulled; where none
# does, an equivalent is made here: Debian's essential packages by mmdebstrap (debootstrap's quick successor) and the
# Node binary this tree already has, under the same name. A tag that is there is taken as it is.
set -euo pipefail
cd "$(dirname "$0")"
. ./debian.sh

IMAGE=${BASE_IMAGE:-node:24-bookworm-slim}
SUITE=bookworm
PULL_SECONDS=300
USER_ID=1000
say() { printf '%s\n' "$*" >&2; }

docker image inspect "$IMAGE" >/dev/null 2>&1 && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "Pulling $IMAGE ..."
timeout "$PULL_SECONDS" docker pull -q "$IMAGE" >/dev/null 2>"$work/pull.log" && exit 0
say "No registry gave it ($(tail -n 1 "$work/pull.log" | cut -c1-160)). Making it here from Debian packages ..."

command -v apt-get >/dev/null || {
  say "This is not a Debian machine, so no base image can be made here. Load one: docker load < $IMAGE, or set BASE_IMAGE."
  exit 1
}
if ! command -v mmdebstrap >/dev/null; then
  [ "$(id -u)" = 0 ] || { say "mmdebstrap is missing. Install it once as root: apt-get install mmdebstrap"; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q && apt-get install -yq --no-install-recommends mmdebstrap; } >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
fi

# Node as a file of its own: the one on PATH is what `make` fetched; stripped where the machine can.
mkdir -p "$work/bin"
cp "$(node -p process.execPath)" "$work/bin/node"
if command -v strip >/dev/null; then strip "$work/bin/node"; fi
cat >"$work/add-user" <<'HOOK'
echo "node:x:$2:$2::/home/node:/bin/bash" >>"$1/etc/passwd"
echo "node:x:$2:" >>"$1/etc/group"
install -d -o "$2" -g "$2" "$1/home/node"
HOOK

mirror=$(debian_mirror)
mmdebstrap --quiet --variant=essential --include=libstdc++6 \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="copy-in $work/bin/node /usr/local/bin" \
  --customize-hook="bash -e $work/add-user \"\$1\" $USER_ID" \
  --customize-hook='rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/*' \
  "$SUITE" - "$mirror" 2>"$work/log" >"$work/root.tar" || { cat "$work/log" >&2; exit 1; }
docker import --change 'CMD ["node"]' --change "LABEL org.warren.base=$(node --version)" \
  "$work/root.tar" "$IMAGE" >/dev/null
