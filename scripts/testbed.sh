# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # checkout, cache and logs are set by dev, which uses packages_testbed
# The container testbed: sourced by ./dev. With a Docker engine it is docker compose; without one, the same images and the
# same containers by buildah and podman, in a store of their own under the cache.

readonly testbed_store=$cache/containers
readonly packages_testbed=(buildah podman crun debootstrap)

docker_works() {
	command -v docker >/dev/null && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

testbed_docker() {
	docker compose -f docker/compose.yaml up --build --abort-on-container-exit --exit-code-from swarm
	docker compose -f docker/compose.yaml down --volumes
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

# debian:bookworm-slim, made here: no registry can be asked without an engine.
testbed_base() {
	local root=$testbed_store/rootfs container mirror
	buildah inspect --type image docker.io/library/debian:bookworm-slim >/dev/null 2>&1 && return
	mirror=$(debian_mirror | sed -nE '/^(https?|file|copy|ftp):/{p;q}')
	[ -n "$mirror" ] || die "no Debian mirror in apt's sources"
	rm -rf "$root"
	debootstrap --variant=minbase bookworm "$root" "$mirror"
	container=$(buildah from scratch)
	buildah add -q "$container" "$root" /
	buildah commit -q "$container" docker.io/library/debian:bookworm-slim
	buildah rm "$container"
	rm -rf "$root"
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

testbed_stop() {
	local name
	for name in gateway cse swarm; do
		podman kill "sluice-$$-$name" >/dev/null 2>&1 || true
	done
	wait
	rm -rf "$testbed_run"
}

testbed_podman() (
	mkdir -p "$logs"
	testbed_run=$(mktemp -d "$testbed_store/run-XXXXXX")
	trap testbed_stop EXIT
	podman_run credentials credentials
	podman_run gateway gateway >"$logs/testbed-gateway.log" 2>&1 &
	podman_run cse cse >"$logs/testbed-cse.log" 2>&1 &
	podman_run swarm swarm
)
