#!/usr/bin/python3
"""check_swarm.py SWARM: the load generator refuses wrong numbers, and calls nothing a success that was none, and loses
nothing of what it reorders.
check_swarm.py SWARM BUILD: it ends, too, when the gateway behind its virtio port is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 120
REFUSED = {
    ("--loss", "5"): "a share from 0 to 1",
    ("--loss", "nan"): "a share from 0 to 1",
    ("--forge", "-1"): "a number is needed",
    ("--devices", "-3"): "a number is needed",
    ("--devices", "5000000000"): "a number is needed",
    ("--rate", "nan"): "a number is needed",
    ("--records", "many"): "a number is needed",
}


def check_options(swarm):
    for arguments, text in REFUSED.items():
        done = subprocess.run([swarm, "--socket", *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 2 and text in done.stderr, (arguments, done)
    done = subprocess.run([swarm, "--socket", "--server", "127.0.0.1:9", "--devices", "3", "--seconds", "1"],
                          capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1, ("without a gateway", done)


def check_reordering(swarm):
    """What is reordered comes later, however long nothing else is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        gateway.bind(("127.0.0.1", 0))
        gateway.settimeout(PATIENCE_S)
        command = [swarm, "--socket", "--server", f"127.0.0.1:{gateway.getsockname()[1]}", "--preinstalled", "seed",
                   "--devices", "1", "--records", "1", "--reorder", "1", "--no-close"]
        done = subprocess.run([*command, "--no-answers"], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done
        assert gateway.recv(2048)[0] == 23, "the last request"
        waiting = subprocess.Popen([*command, "--answer-timeout", "1000000"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        assert gateway.recv(2048)[0] == 23, "a request that waits for its answer"
        waiting.terminate()
        waiting.wait(PATIENCE_S)


def check_dead_gateway(swarm, build):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench"))
    import virtio
    with tempfile.TemporaryDirectory(prefix="sluice-swarm-") as folder:
        bed = virtio.Testbed(build, folder, [os.path.join(build, "sluice")], 1024, 100)
        command = [swarm, "--dpdk", *virtio.MEMORY, "-m", "256", "-l", str(virtio.FIRST_CPU), "--vdev",
                   f"net_virtio_user0,path={bed.vhost},queue_size=256", "--", "--server", virtio.SERVER, "--devices-net",
                   virtio.DEVICES_NET, "--devices", "100", "--records", "100000000", "--no-answers"]
        try:
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                for line in process.stderr:
                    if re.search(r"requests [1-9]", line):
                        break
                bed.gateway.kill()
                time.sleep(1)  # by then nobody takes its frames
                process.send_signal(signal.SIGTERM)
                try:
                    process.communicate(timeout=PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
            assert process.returncode == 1, process.returncode
        finally:
            bed.stop()


if len(sys.argv) == 2:
    check_options(sys.argv[1])
    check_reordering(sys.argv[1])
else:
    check_dead_gateway(*sys.argv[1:])
