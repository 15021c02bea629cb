"""This machine: its facts, its user for servers, free ports, its limits."""

import os
import pwd
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path


def facts():
    """What a reader must know to compare: a list of (name, value)."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        ("Date", time.strftime("%Y-%m-%d")),
        ("CPU", models[0] if models else os.uname().machine),
        ("Cores", str(len(os.sched_getaffinity(0)))),
        ("Memory", f"{memory:.0f} GiB"),
        ("Kernel", f"{os.uname().sysname} {os.uname().release}"),
    ]


def server_user():
    """Postgres and PgBouncer refuse to run as root: the keyword arguments for `subprocess` that make it another user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise SystemExit("error: as root, a user `postgres` or `nobody` is needed to run servers")


def give_to_server_user(path):
    """Makes `path` the property of the user that servers run as."""
    user = server_user()
    if user:
        os.chown(path, user["user"], user["group"])


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def raise_open_files(wanted):
    """As many open files as `wanted`, for us and our children; says what is missing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"error: {wanted} open files are needed, the limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def certificate(folder):
    """A certificate and its key for this machine: two paths that the servers' user may read."""
    crt, key = folder / "server.crt", folder / "server.key"
    if not crt.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", crt], check=True, capture_output=True)
        give_to_server_user(crt)
        give_to_server_user(key)
    return crt, key


def stop(process, by=signal.SIGTERM, kill_after=10):
    """Ends a child that we started; by SIGKILL if that signal isn't enough."""
    if process.poll() is not None:
        return
    process.send_signal(by)
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
