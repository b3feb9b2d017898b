#!/bin/sh
# What each container of the testbed does; the folder /run/sluice is shared between them.
set -eu

devices=${DEVICES:-200}
records=${RECORDS:-20}

# EAL arguments for memory that the other container can map.
memory() {
	free_pages=$(awk '/HugePages_Free/ {print $2}' /proc/meminfo)
	size_kib=$(awk '/Hugepagesize/ {print $2}' /proc/meminfo)
	if [ "$((free_pages * size_kib / 1024))" -ge 512 ]; then
		echo "--in-memory --single-file-segments"
	else
		echo "--no-huge"
	fi
}

# wait_for FILE: until the other container has made it.
wait_for() {
	tries=0
	until [ -e "$1" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 1200 ] || {
			echo "testbed: $1 does not appear" >&2
			exit 1
		}
		sleep 0.1
	done
}

case ${1:-} in
credentials)
	rm -f /run/sluice/*.sock # of a run that was killed: nobody listens there
	exec sluice-swarm --write-psk /run/sluice/psk.txt --devices "$devices"
	;;
gateway)
	quoted=$(memory | sed 's/[^ ][^ ]*/"&"/g; s/ /, /g')
	sed "s/MEMORY/$quoted/" /etc/sluice/testbed.yaml >/tmp/sluice.yaml
	echo "testbed: gateway with $(memory)"
	exec sluice --config /tmp/sluice.yaml
	;;
cse)
	wait_for /run/sluice/application.sock
	coap-server-notls -A 127.0.0.1 -p 5683 &
	exec sluice-forward --ring /run/sluice/application.sock --backend 127.0.0.1:5683
	;;
swarm)
	wait_for /run/sluice/gateway.sock
	wait_for /run/sluice/application.sock
	sleep 1
	# shellcheck disable=SC2046 # words
	exec sluice-swarm --dpdk $(memory) -m 192 --no-pci --no-telemetry --no-shconf --log-level=error \
		--vdev net_virtio_user0,path=/run/sluice/gateway.sock,queue_size=1024 -- \
		--server 10.200.0.1 --devices-net 10.200.1.1 --devices "$devices" --records "$records" \
		--cid --rebind-every 4 --outstanding 16 --handshake-flight 16 --seconds 120 \
		--json /run/sluice/report.json
	;;
*)
	echo "usage: testbed credentials | gateway | cse | swarm" >&2
	exit 2
	;;
esac
