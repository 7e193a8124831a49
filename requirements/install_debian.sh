#!/usr/bin/env bash
# Installs what requirements/debian.txt lists, where this is Debian and we are root. Elsewhere it
# says what is missing, and the tests that need it are skipped with that reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
missing=()
while read -r package file; do
	compgen -G "$file" >/dev/null || missing+=("$package")
done < <(grep -v '^#' debian.txt)
if ((${#missing[@]} == 0)); then exit 0; fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "not installed, and tests that need them are skipped: ${missing[*]}" >&2
	exit 0
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Services that packages bring are for the tests to start, not for the system.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
