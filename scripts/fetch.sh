# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# fetch.sh - packages of another suite, unpacked and not installed
#
# Sourced by the scripts that fetch what Debian 12 itself does not have. The suite is
# one of the same mirror that the machine's own apt sources name. apt runs on a state
# directory of its own, so the machine's package lists stay untouched, and root is not
# needed. Everything lies below $KERNEL_DIR, an absolute path. The script that sources
# this defines die(), and $by_hand, which tells users of other systems what to do.

# Takes the lock of $KERNEL_DIR, which this makes, until the script ends.
begin_fetch()
{
	mkdir -p "$KERNEL_DIR"
	exec 9>"$KERNEL_DIR/.lock"
	flock 9
	trap 'rm -rf "$KERNEL_DIR"/.fetch.*' EXIT
}

# Prints the machine's own apt sources plus another suite of the same mirror: each
# entry for the release itself is repeated with the suite replaced.
derive_sources()
{
	local codename=$1 suite=$2 dir=$3 file

	for file in /etc/apt/sources.list.d/*.sources; do
		[ -e "$file" ] || continue
		awk -v RS= -v ORS='\n\n' -v code="$codename" -v suite="$suite" '
			function stanza(suites, text) {
				text = $0
				sub(/\nSuites:[^\n]*/, "\nSuites: " suites, text)
				return text
			}
			match("\n" $0, /\nSuites:[^\n]*/) {
				suites = " " substr("\n" $0, RSTART + 8, RLENGTH - 8) " "
				if (index(suites, " " code " ")) {
					print
					print stanza(suite)
				} else if (index(suites, " " code "-security "))
					print
			}' "$file" >> "$dir/derived.sources"
	done
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -e "$file" ] || continue
		sed -nE "s/^(deb( +\[[^]]*\])? +[^ ]+ +)$codename( .*)$/\1$codename\3\n\1$suite\3/p
			/^deb( +\[[^]]*\])? +[^ ]+ +$codename-security /p" \
			"$file" >> "$dir/derived.list"
	done
	find "$dir" -size 0 -delete
	find "$dir" -type f | grep -q . ||
		die "no apt source for $codename found below /etc/apt: cannot derive $suite"
}

apt_private()
{
	local command=$1 state=$KERNEL_DIR/.apt
	shift

	"$command" -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$state/sources" \
		-o Dir::State="$state/state" -o Dir::State::Status=/dev/null \
		-o Dir::Cache="$state/cache" -o APT::Sandbox::User= \
		-o Acquire::Languages=none -o APT::Get::List-Cleanup=false "$@"
}

# apt_prepare SUITE: makes apt_private know the packages of that suite.
apt_prepare()
{
	local suite=$1 state=$KERNEL_DIR/.apt codename

	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	[ "$codename" = bookworm ] ||
		die "packages can be fetched on Debian 12 (bookworm) only: $by_hand"
	[ "$suite" != backports ] || suite=$codename-backports
	rm -rf "$state/sources"
	mkdir -p "$state/sources" "$state/state/lists/partial" "$state/cache/archives/partial"
	derive_sources "$codename" "$suite" "$state/sources"
	apt_private apt-get update >"$state/update.log" 2>&1 ||
		{ cat "$state/update.log" >&2; die "apt-get update failed"; }
}

# download DIR PACKAGES...: unpacks them below DIR/root.
download()
{
	local dir=$1 name
	shift

	(cd "$dir" && apt_private apt-get download "$@" >download.log 2>&1) ||
		{ cat "$dir/download.log" >&2; die "download of $* failed"; }
	mkdir "$dir/root"
	for name in "$dir"/*.deb; do
		dpkg -x "$name" "$dir/root"
	done
}
