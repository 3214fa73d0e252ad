#!/usr/bin/env python3
"""Runs `ipsight sweep` on a Ray cluster: each training is a process on a node that has room for it.

    pip install ray
    python3 examples/ray_sweep.py --ray-address auto -- \\
        --config configs/sweeps/quick.toml --output sweeps/quick --jobs 16

Behind `--` are the arguments of `ipsight sweep`, of which all but --launcher can be given: --resume and --json, too.
The exit code is the sweep's, and SIGINT and SIGTERM are passed on to it. Without --ray-address it is as in `ray.init`:
RAY_ADDRESS, or a cluster that this machine is part of, or a new one on this machine alone. --help lists the arguments
before `--`.

How it works: the sweep runs here, and this file is its --launcher. For each training and each evaluation the sweep
starts a relay, which is this file again. It asks the driver, over a Unix socket, to run the command as a Ray task,
prints what the process prints, and ends as it ends. When the sweep wants a process gone, the task is cancelled. When a
node dies, Ray starts its trainings again on others, where `ipsight train` goes on from the last checkpoint: there is
one after each epoch. The sweep takes an epoch once, however often it is told, and so each trial is reported once.
In the `log` of a trial's folder stands where its processes ran.

What it needs:

- a file system that knows locks and is shared by all nodes: the sweep's folder, the folder that this is started in, the
  events and the program have the same paths everywhere;
- on all nodes the same version of Ray and of Python, and of processors the same instruction set, where results should
  not depend on which node took what.

What it does not do:

- Outlive this machine. When this program is killed, or loses the cluster, the sweep stops; --resume goes on with it.
- Know the memory of the cluster. The sweep runs as many trials at a time as would fit the memory of this machine, and
  leaves it to Ray where: take a machine with enough, and no more trials to a node than it has memory for, by
  --num-cpus-per-training.
- Share out GPUs. Ray hides them by CUDA_VISIBLE_DEVICES, at which wgpu does not look.
"""

import json
import os
import signal
import socket
import sys
import threading

# Relays start often, and have to be quick: they import nothing but the above.

POLL = 0.5  # seconds between looks at what tasks have to say, and at whether their relays are there
CANCEL_PATIENCE = 10  # seconds that a cancelled task may take until its worker is killed; the sweep waits for 5
KILL_PATIENCE = 3  # seconds that a process may take to end after its stdin has
# Seconds that the lock of a folder may be held by a process on a node that was lost. NFS forgets it after 90.
LOCK_PATIENCE = 120
LOCKED = "another ipsight is training"
# Exit codes that stop the sweep, which --resume goes on with: as if by SIGTERM, and as by a disk that is full.
TERMINATED, BROKEN = 143, 4


# The relay: a process that the sweep takes for the training.


def relay(path, command):
    sweep = os.getppid()
    connection = socket.socket(socket.AF_UNIX)
    code = None
    try:
        connection.connect(path)
        request = {"command": command, "folder": os.getcwd()}
        connection.sendall(json.dumps(request).encode() + b"\n")
        threading.Thread(target=tell_end_of_stdin, args=[connection], daemon=True).start()
        for line in connection.makefile():
            for name, value in json.loads(line).items():
                if name == "code":
                    code = value
                else:
                    print(value, end="", flush=True, file=getattr(sys, name))
    except OSError:
        pass  # the driver is gone, or the sweep
    if code is None:
        code = TERMINATED
        if os.getppid() == sweep:
            # No trial has failed of this: the sweep stops, and lets go of its processes.
            os.kill(sweep, signal.SIGTERM)
            wait_for_end_of_stdin()
    os._exit(code)  # whatever the thread does


def tell_end_of_stdin(connection):
    wait_for_end_of_stdin()
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the driver is gone


def wait_for_end_of_stdin():
    while os.read(0, 4096):
        pass


# The task: runs on any node.


def run_in_task(mailbox, key, command, folder, num_threads):
    """Runs a process, and returns its exit code and what of its stdout was not sent.

    What a training prints is sent line by line. The document of an evaluation is sent once, at the end: one that is
    begun on a node that dies would be told one and a half times.
    """
    import time

    import ray

    is_training = command[1] == "train"
    kept, errors = [], []

    def on_line(stream, line):
        if stream == "stdout" and not is_training:
            kept.append(line)
            return
        if stream == "stderr":
            errors.append(line)
        mailbox.put.remote(key, {stream: line})

    context = ray.get_runtime_context()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a cluster started in the background ignores it
    on_line("stderr", f"ray: runs on node {context.get_node_id()} at {ray.util.get_node_ip_address()}\n")
    start = time.monotonic()
    while True:
        code = run_process(command, folder, num_threads, on_line)
        is_locked = code == 2 and any(LOCKED in line for line in errors)
        if not is_locked or time.monotonic() - start > LOCK_PATIENCE:
            break
        errors.clear()
        time.sleep(1)
    ray.get(mailbox.put.remote(key, {}))  # what was put before is there, too, then
    return code, "".join(kept)


def run_process(command, folder, num_threads, on_line):
    """Runs a process until it ends, or until a KeyboardInterrupt, which is how Ray cancels a task."""
    import queue
    import subprocess

    pipe = subprocess.PIPE
    environment = {**os.environ, "RAYON_NUM_THREADS": str(num_threads)}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
    )
    lines = queue.SimpleQueue()

    def read(stream):
        for line in getattr(process, stream):
            lines.put((stream, line))
        lines.put((stream, None))

    num_open = 0
    try:
        for stream in ("stdout", "stderr"):
            threading.Thread(target=read, args=[stream], daemon=True).start()
            num_open += 1
        while num_open:
            try:
                stream, line = lines.get(timeout=0.1)  # an interrupt is seen between two of these
            except queue.Empty:
                continue
            if line is None:
                num_open -= 1
            else:
                on_line(stream, line)
        code = process.wait()
        return code if code >= 0 else 128 - code
    finally:
        # Trainings and evaluations end with their stdin, and so with this task's worker, too.
        process.stdin.close()
        try:
            process.wait(KILL_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


class Mailbox:
    """An actor beside the driver, where tasks leave what their processes print: no other node's death harms it."""

    def __init__(self):
        self.messages = {}

    def put(self, key, message):
        self.messages.setdefault(key, []).append(message)

    def take(self, key):
        return self.messages.pop(key, [])


# The driver: starts the sweep, and a task for each relay.


def serve(connection, start_task, mailbox):
    """Has a task run a relay's command, and tells the relay what the process prints and how it ended."""
    import time
    import uuid

    import ray

    request = json.loads(connection.makefile().readline())
    key = uuid.uuid4().hex
    task = start_task(key, request["command"], request["folder"])
    cancelled = None
    ended = []
    while not ended:
        ended, _ = ray.wait([task], timeout=POLL)
        is_there = is_open(connection)
        for message in ray.get(mailbox.take.remote(key)):
            is_there = is_there and tell(connection, message)
        if not is_there and cancelled is None:
            cancelled = time.monotonic()
            ray.cancel(task, recursive=False)
        elif cancelled is not None and time.monotonic() - cancelled > CANCEL_PATIENCE:
            ray.cancel(task, force=True, recursive=False)
            return
    try:
        code, text = ray.get(task)
        tell(connection, {"stdout": text, "code": code})
    except ray.exceptions.TaskCancelledError:
        tell(connection, {"stderr": "ray: cancelled\n", "code": TERMINATED})
    except ray.exceptions.RayError as error:
        # Too many nodes died, or one lacks the program. It is no trial's result, and the next would meet the same.
        why = str(getattr(error, "cause", None) or error).strip().split("\n")[0]
        tell(connection, {"stderr": f"error: Ray: {type(error).__name__}: {why}\n", "code": BROKEN})


def is_open(connection):
    try:
        return connection.recv(1, socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def tell(connection, message):
    """Sends a relay a message; false where it is gone."""
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
        return True
    except OSError:
        return False


def main():
    import argparse
    import shutil
    import socketserver
    import subprocess
    import tempfile

    parser = argparse.ArgumentParser(usage="ray_sweep.py [options] -- [arguments of `ipsight sweep`]")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="the cluster, as in ray.init; auto: this node's")
    parser.add_argument("--ipsight", metavar="PATH", default="ipsight", help="the program, on all nodes")
    parser.add_argument("--num-cpus-per-training", metavar="N", type=int, default=1, help="and threads; default 1")
    parser.add_argument("--max-retries", metavar="N", type=int, default=10, help="nodes that a process may lose")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, of_sweep = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    if not of_sweep:
        parser.error("behind -- the arguments of `ipsight sweep` are missing")
    if not shutil.which(arguments.ipsight):
        parser.error(f"there is no program {arguments.ipsight}: --ipsight PATH says where it is")
    num_cpus = arguments.num_cpus_per_training

    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    sys.stdout = sys.stderr  # Ray talks on stdout, which is the sweep's
    ray.init(address=arguments.ray_address, log_to_driver=False, logging_level="warning")
    num_nodes = sum(node["Alive"] for node in ray.nodes())
    print(f"ray: {num_nodes} nodes, {ray.cluster_resources().get('CPU', 0):.0f} CPUs", file=sys.stderr)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    restarts = {"max_restarts": -1, "max_task_retries": -1}
    mailbox = ray.remote(num_cpus=0, scheduling_strategy=here, **restarts)(Mailbox).remote()
    task = ray.remote(num_cpus=num_cpus, max_retries=arguments.max_retries)(run_in_task)

    def start_task(key, command, folder):
        return task.remote(mailbox, key, command, folder, num_cpus)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            serve(self.request, start_task, mailbox)

    class Server(socketserver.ThreadingUnixStreamServer):
        request_queue_size = 1024

    with tempfile.TemporaryDirectory(prefix="ipsight-") as folder:
        path = os.path.join(folder, "socket")
        launcher = [sys.executable, os.path.abspath(__file__), "--relay", path]
        if " ".join(launcher).split() != launcher:
            parser.error(f"a launcher is split at spaces, and there are some in one of these paths: {launcher}")
        command = [arguments.ipsight, "sweep", *of_sweep, "--launcher", " ".join(launcher)]
        with Server(path, Handler) as server:  # at its end it waits for its threads
            threading.Thread(target=server.serve_forever, daemon=True).start()
            # In a session of its own, so that a Ctrl-C comes to it once: from here.
            sweep = subprocess.Popen(command, start_new_session=True)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: sweep.send_signal(number))
            code = sweep.wait()
            server.shutdown()
    ray.shutdown()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--relay"]:
        relay(sys.argv[2], sys.argv[3:])
    else:
        main()
