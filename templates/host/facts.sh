#!/bin/sh
# Is this machine the configured one? Usage: sh -s ID VERSION_ID (as in os-release(5)); further words are ignored.
# Prints what it found and a new serial. Changes nothing, except that it installs python3 where the standard library is
# missing.
set -eu

wanted="$1 $2"
. /etc/os-release
found="$ID ${VERSION_ID:-unstable}"
if [ "$found" != "$wanted" ]; then
    echo "this machine runs $found, the configuration says $wanted: set mailhost:os to what the machine runs, or mailhost:ipv4 to the right machine" >&2
    exit 1
fi

# Certificates and signatures carry dates: 1 November 2026 is older than this program.
if [ "$(date +%s)" -lt 1793491200 ]; then
    echo "the clock of this machine says $(date -u): start time synchronisation (timedatectl set-ntp true) and try again" >&2
    exit 1
fi

# python3-minimal lacks much of the standard library.
if ! python3 -c 'import shutil, ssl, zipfile' 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends python3 >&2
fi

echo "$found"
cat /proc/sys/kernel/random/uuid
