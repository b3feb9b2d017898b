# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # checkout, cache and logs are set by dev, which uses packages_testbed
# The container testbed: sourced by ./dev. With a Docker engine it is docker compose; without one, the same images and the
# same containers by buildah and podman, in a store of their own under the cache.

readonly testbed_store=$cache/containers
readonly packages_testbed=(buildah podman crun debootstrap)

docker_works() {
	command -v docker >/dev/null && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

# The status is the swarm's, and nothing stays, however it ends.
testbed_docker() {
	local status=0
	docker compose -f docker/compose.yaml up --build --abort-on-container-exit --exit-code-from swarm || status=$?
	docker compose -f docker/compose.yaml down --volumes || true
	return "$status"
}

testbed_environment() {
	mkdir -p "$testbed_store"
	cat >"$testbed_store/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$testbed_store/graph"
runroot = "$testbed_store/run"
END
	export CONTAINERS_STORAGE_CONF=$testbed_store/storage.conf BUILDAH_ISOLATION=chroot
}

# debian:bookworm-slim, made here: no registry can be asked without an engine. Its name means that it is whole: it would
# be taken for good.
testbed_base() {
	local root=$testbed_store/rootfs container mirror status=0
	buildah inspect --type image docker.io/library/debian:bookworm-slim >/dev/null 2>&1 && return
	mirror=$(debian_mirror | sed -nE '/^(https?|file|copy|ftp):/{p;q}')
	if [ -z "$mirror" ]; then
		echo "no Debian archive found in /etc/apt/sources.list and /etc/apt/sources.list.d"
		return 1
	fi
	rm -rf "$root"
	debootstrap --variant=minbase bookworm "$root" "$mirror" || return
	container=$(buildah from scratch) || return
	buildah add -q "$container" "$root" / &&
		buildah commit -q "$container" docker.io/library/debian:bookworm-slim || status=$?
	buildah rm "$container" || true
	rm -rf "$root"
	return "$status"
}

testbed_image() {
	buildah bud --pull=never --network=host -v "$cache:/root/.cache/sluice" -f docker/Dockerfile -t sluice .
}

# podman_run NAME ROLE [OPTION...]: one container of the testbed, with as little as compose.yaml gives it. The kernel's hybrid
# cgroup mount gets in podman's way: it is hidden from it.
podman_run() {
	local name=$1 role=$2
	shift 2
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec podman run "$@"' podman \
		--rm --name "sluice-$$-$name" --ulimit nofile=10000:10000 --ulimit nproc=1000:1000 --cgroups=disabled \
		--network=none --cap-drop=all --security-opt=no-new-privileges -v "$testbed_run:/run/sluice" \
		-e DEVICES="${DEVICES:-200}" -e RECORDS="${RECORDS:-20}" --entrypoint=testbed "$@" localhost/sluice "$role"
}

# A container that is still being made cannot be killed: again, until all have ended.
testbed_stop() {
	local name
	while
		for name in gateway cse swarm; do
			podman kill "sluice-$$-$name" >/dev/null 2>&1 || true
		done
		[ -n "$(jobs -pr)" ]
	do
		sleep 0.5
	done
	rm -rf "$testbed_run"
}

testbed_podman() (
	mkdir -p "$logs"
	testbed_run=$(mktemp -d "$testbed_store/run-XXXXXX")
	trap testbed_stop EXIT
	podman_run credentials credentials || exit
	podman_run gateway gateway >"$logs/testbed-gateway.log" 2>&1 &
	podman_run cse cse >"$logs/testbed-cse.log" 2>&1 &
	podman_run swarm swarm
)
