#!/bin/sh
# Makes dist/mjf-agent-VERSION-1.noarch.rpm and dist/mjf-agent-standalone-VERSION-1.x86_64.rpm of what is built in dist/; the same
# bytes each time (SOURCE_DATE_EPOCH). rpm/build.sh [OUTPUT_DIRECTORY] [node|standalone]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
output=${1:-$root/dist}
mkdir -p "$output"
output=$(cd "$output" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
# For tests, whose packages nobody keeps: not small, but soon.
level=15
[ -z "${MJF_PACKAGE_SOON:-}" ] || level=1

version=$(node "$root/packaging/contents.mjs" version)
SOURCE_DATE_EPOCH=$(node "$root/packaging/contents.mjs" time)
export SOURCE_DATE_EPOCH

for kind in ${2:-node standalone}; do
  case $kind in
    node) name=mjf-agent with=--without=standalone ;;
    standalone) name=mjf-agent-standalone with=--with=standalone ;;
    *)
      echo "usage: rpm/build.sh [OUTPUT_DIRECTORY] [node|standalone]" >&2
      exit 64
      ;;
  esac
  mkdir -p "$work/$kind/SOURCES"
  node "$root/packaging/contents.mjs" "$kind" rpm "$work/$kind/$name-$version"
  tar -C "$work/$kind" --sort=name --owner=0 --group=0 --numeric-owner -c "$name-$version" |
    gzip -1n >"$work/$kind/SOURCES/$name-$version.tar.gz"
  rm -r "$work/$kind/$name-$version"
  # The host and the hour of the build are no part of the package. --nodeps: nothing is built here.
  rpmbuild -bb --quiet --nodeps "$with" \
    --define "_topdir $work/$kind" \
    --define "mjf_version $version" \
    --define "_buildhost localhost" \
    --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" \
    --define "_binary_payload w$level.zstdio" \
    "$here/mjf-agent.spec"
  for package in "$work/$kind"/RPMS/*/*.rpm; do
    cp "$package" "$output/"
    echo "$output/$(basename "$package")"
  done
done
