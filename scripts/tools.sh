# shellcheck shell=bash
# shellcheck disable=SC2154 # cache and logs are set by dev
# Servers that the tests talk to, without the services that their packages would start. Sourced by dev, whose say
# and logged it uses.

# tool_fetch PACKAGE FOLDER: what the package holds, unpacked and not installed.
tool_fetch() {
	local package=$1 folder=$2 work
	work=$(mktemp -d "$cache/tool.XXXXXX")
	# The archive is world-readable and its folder must be, too: apt drops its privileges to fetch.
	chmod 755 "$work"
	(cd "$work" && apt-get download "$package" && dpkg-deb -x ./*.deb root && mkdir -p "$(dirname "$folder")" &&
		rm -rf "$folder" && mv root "$folder")
	local status=$?
	rm -rf "$work"
	return "$status"
}

# Puts redis-server, prometheus and promtool on PATH. redis-tools holds the program of the server, too, which goes by
# its name.
need_tools() {
	local bin=$cache/tools/bin
	mkdir -p "$bin"
	command -v redis-server >/dev/null || ln -sfn /usr/bin/redis-check-rdb "$bin/redis-server"
	if ! command -v prometheus >/dev/null && [ ! -x "$bin/prometheus" ]; then
		if logged prometheus tool_fetch prometheus "$cache/tools/prometheus"; then
			ln -sfn ../prometheus/usr/bin/prometheus "$bin/prometheus"
			ln -sfn ../prometheus/usr/bin/promtool "$bin/promtool"
		else
			echo "      Prometheus could not be fetched: what is read by it is not tested"
		fi
	fi
	export PATH="$PATH:$bin"
}
