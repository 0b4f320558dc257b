#!/usr/bin/env bash
# What the other scripts here need of Debian: its mirror, as this machine itself is told, and an apt with lists and
# cache of its own, so that packages of another suite can be fetched without touching the machine's. Sourced.

# Prints the URI of the machine's own Debian mirror; no host name is written down here.
debian_mirror() {
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 ~ /\/debian\/?$/ && $1 !~ /security/ { print $1; exit }')
  [ -n "$uri" ] || {
    echo "The packages for images come from Debian, and this machine's apt knows no Debian mirror: use RUNTIME=netns here, or add a mirror and debian-archive-keyring." >&2
    return 1
  }
  printf '%s\n' "${uri%/}"
}

# private_apt <folder> <suite> [status file]: makes the folder an apt of its own and prints its configuration file's
# path, for APT_CONFIG. The status file says what is taken as installed; without one nothing is.
private_apt() {
  local root=$1 suite=$2 status=${3:-} mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(debian_mirror) || return 1
  [ -s "$keyring" ] || { echo "$keyring is missing: apt-get install debian-archive-keyring" >&2; return 1; }
  mkdir -p "$root"/{lists,cache/archives}/partial
  if [ -n "$status" ]; then cp "$status" "$root/status"; else : >"$root/status"; fi
  echo "deb [signed-by=$keyring] $mirror $suite main" >"$root/sources.list"
  cat >"$root/apt.conf" <<CONF
Dir::Etc::sourcelist "$root/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$root/lists";
Dir::State::status "$root/status";
Dir::Cache "$root/cache";
Acquire::Languages "none";
APT::Sandbox::User "";
APT::Install-Recommends "false";
CONF
  printf '%s\n' "$root/apt.conf"
}

# unpack <package file>... <folder>: lays packages over a root whose /bin and /lib may be links, which stay links.
unpack() {
  local folder=${*: -1} deb
  for deb in "${@:1:$#-1}"; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$folder"
  done
}
