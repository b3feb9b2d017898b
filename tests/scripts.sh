#!/usr/bin/env bash
# What ./dev and scripts/testbed.sh make of what goes wrong, with stand-ins for the programs that they call: nothing that
# failed may look well, nothing half-made may stay, and the end comes.
# shellcheck disable=SC2034,SC2317,SC2329 # variables and functions are used by what is sourced
set -u
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
folder=$(mktemp -d)
made=
trap '[ -z "$made" ] || kill "$made" 2>/dev/null; rm -rf "$folder"' EXIT
checkout=$PWD cache=$folder logs=$folder/log jobs=1
failed=0

# shellcheck source=scripts/testbed.sh
. scripts/testbed.sh

# holds NAME COMMAND...: the command succeeds.
holds() {
	local name=$1
	shift
	if "$@"; then
		echo "ok      $name"
	else
		echo "FAILED  $name"
		failed=1
	fi
}

called() { grep -qE "$1" "$folder/calls"; }
never() { ! "$@"; }

# ---- docker compose: the swarm's failure is the testbed's, and everything is taken down

docker() {
	echo "docker $*" >>"$folder/calls"
	[[ " $* " != *" up "* ]]
}
: >"$folder/calls"
holds "a failed swarm is a failed testbed" never testbed_docker
holds "the containers are taken down after a failure" called "docker .* down"

# ---- the base image: what debootstrap did not finish is no image

buildah() {
	echo "buildah $*" >>"$folder/calls"
	[ "$1" != inspect ]
}
debootstrap() { false; }
debian_mirror() { echo "$archive"; }
: >"$folder/calls"
archive=http://mirror.invalid/debian
holds "a failed debootstrap is told" never testbed_base
holds "nothing is committed after it" never called "buildah commit"
archive=cdrom:/
holds "no mirror is told, to the end of the log" never testbed_base
debootstrap() { true; }
archive=http://mirror.invalid/debian
holds "a base image is made" testbed_base
holds "and committed" called "buildah commit"

# ---- podman: a container that is still being made takes no kill yet

podman() {
	echo "podman $*" >>"$folder/calls"
	[ "$(grep -c kill "$folder/calls")" -gt 4 ] && kill "$made" 2>/dev/null
}
: >"$folder/calls"
testbed_run=$folder/run
mkdir "$testbed_run"
sleep 1000 &
made=$!
testbed_stop
holds "the testbed stops when its containers have ended" never kill -0 "$made" 2>/dev/null
holds "and its folder is gone" never test -e "$testbed_run"

# ---- benchmarks: two at once would write the same files

measure_beside_another() {
	exec 7>"$folder/lock"
	flock 7
	/usr/bin/python3 bench/run.py --out "$folder" hello 2>&1 </dev/null | grep -q "another run"
}
holds "a second run of the benchmarks is refused" measure_beside_another

# ---- what the tests report is what is counted, and what was left out is told

# shellcheck source=scripts/check.sh
. scripts/check.sh
passed=0
meson() {
	mkdir -p "$folder/meson-logs"
	cat >"$folder/meson-logs/testlog.junit.xml" <<-'END'
		<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase>
		<testcase name="c"><failure/></testcase><testcase name="d"/></testsuite></testsuites>
	END
}
fixed_layout() { "$@"; }
before=$failed failed=0
meson_tests "$folder" 1 >"$folder/told"
counts="$passed $failed" failed=$before
holds "two passed and one failed" [ "$counts" = "2 1" ]
holds "one was skipped" grep -q "1 skipped" "$folder/told"

# ---- the command line of ./dev

# refused TEXT ARGUMENT...: by that text, before anything is done.
refused() {
	local text=$1
	shift
	./dev "$@" 2>&1 </dev/null | grep -qF "$text"
}
holds "a time to fuzz is a number" refused "no number of seconds" fuzz soon
holds "and not zero, which is for ever" refused "no number of seconds" fuzz 0
holds "a command without arguments takes none" refused "takes no argument" build all
holds "an unknown command is told" refused "no command" biuld

exit "$failed"
