# Shared by the scripts: where things are, how to say what goes on, and how to get what is missing.
# shellcheck shell=bash

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034  # for the scripts
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}

# say TEXT: progress, so that long work is never silent.
say() {
  printf '\033[1m==>\033[0m %s\n' "$*" >&2
}

# die TEXT…: one line each, exit 1.
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  if (($#)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# Runs a command with root's rights; fails where they can't be had without asking somebody who isn't there.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
    sudo "$@"
  else
    return 1
  fi
}

APT_UPDATED=
# apt_install PACKAGE…: true when they are installed, false where apt or the right to use it is missing.
apt_install() {
  have apt-get || return 1
  as_root true || return 1
  say "installing $* (apt-get)"
  if [[ -z $APT_UPDATED ]]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2 || return 1
    APT_UPDATED=1
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
}

# The folder of Postgres' server binaries: PG_BIN, the newest of Debian's, or PATH; empty when there is none.
postgres_bin() {
  local folder
  while read -r folder; do
    if [[ -n $folder && -x $folder/initdb && -x $folder/postgres && -x $folder/pg_basebackup ]]; then
      printf '%s\n' "$folder"
      return
    fi
  done < <(
    printf '%s\n' "${PG_BIN:-}"
    printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr
    if have initdb; then dirname "$(command -v initdb)"; fi
  )
}

need_postgres() {
  if [[ -n $(postgres_bin) ]] && have psql; then return; fi
  # postgresql-common comes first and alone: by default the next package starts a cluster that nobody here needs.
  if ! have pg_createcluster && apt_install postgresql-common; then
    as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' \
      /etc/postgresql-common/createcluster.conf
  fi
  if apt_install postgresql postgresql-contrib && [[ -n $(postgres_bin) ]]; then return; fi
  die "Postgres' server binaries (initdb, postgres, pg_basebackup, psql, pgbench; version 14 or later) are missing." \
    "Debian, Ubuntu:  sudo apt-get install postgresql postgresql-contrib" \
    "Fedora:          sudo dnf install postgresql-server postgresql-contrib" \
    "Arch:            sudo pacman -S postgresql" \
    "macOS:           brew install postgresql@17" \
    "Binaries in a folder of their own are found with PG_BIN=/that/bin."
}

# A C compiler and make: aws-lc (TLS) and jemalloc are built from C.
need_compiler() {
  if have cc && have make; then return; fi
  if apt_install gcc libc6-dev make && have cc && have make; then return; fi
  die "A C compiler and make are missing (TLS and the allocator are built from C)." \
    "Debian, Ubuntu:  sudo apt-get install gcc libc6-dev make" \
    "Fedora:          sudo dnf install gcc make" \
    "Arch:            sudo pacman -S base-devel" \
    "macOS:           xcode-select --install"
}

need_cargo() {
  if ! have cargo && [[ -x $HOME/.cargo/bin/cargo ]]; then PATH=$HOME/.cargo/bin:$PATH; fi
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
  if have cargo; then
    found=$(cd "$ROOT" && cargo --version | cut -d' ' -f2)
    if [[ $(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1) == "$wanted" ]]; then return; fi
    die "cargo is $found, but $wanted or later is needed: rustup update stable"
  fi
  die "cargo (Rust $wanted or later) is missing. Install it with rustup:" \
    "see https://rustup.rs, then open a new shell." \
    "A distribution's own package will do if it is recent enough."
}
