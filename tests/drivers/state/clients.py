"""What these Python programs share: phases that all clients run at the same time, each on a connection of its own.

A program is given a URL and how many clients to be. It tells `ok PHASE` when all clients are through with it. The
table `items (driver, client, n, note)` is there. Reads that must see what was just written are part of a
transaction: others may go to a replica.
"""

import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

URL, CLIENTS = sys.argv[1], int(sys.argv[2])
TURNS = 10

# A lock that one client may hold at a time; all of them want it.
SHARED_LOCK = 77
inside_lock = 0


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {found!r:.300}, expected {expected!r:.300}")


def zone(number):
    return ("Asia/Tokyo", "America/New_York", "UTC", "Europe/Paris")[number % 4]


def patiently(action, sqlstate):
    """A place among the sessions that are tied to a connection is waited for, as an application would."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return action()
        except Exception as error:
            if sqlstate(error) != "53300" or time.monotonic() > deadline:
                raise
            time.sleep(0.03)


class Alone:
    """Between the taking of the lock and its release nobody else may be."""

    def __enter__(self):
        global inside_lock
        equal(inside_lock, 0)
        inside_lock += 1

    def __exit__(self, *_):
        global inside_lock
        inside_lock -= 1


def run_threads(connect, close, phases):
    """Runs phases, functions of (connection, number), each with all clients at once."""
    failed = False
    with ThreadPoolExecutor(CLIENTS) as executor:
        connections = list(executor.map(connect, range(CLIENTS)))
        for phase in phases:
            barrier = threading.Barrier(CLIENTS, timeout=20)

            def one(number):
                barrier.wait()
                phase(connections[number], number)

            futures = [executor.submit(one, number) for number in range(CLIENTS)]
            outcomes = [outcome for future in futures if (outcome := future.exception())]
            tell(phase.__name__, outcomes)
            failed = failed or bool(outcomes)
        list(executor.map(close, connections))
    sys.exit(1 if failed else 0)


def tell(name, outcomes):
    if not outcomes:
        print("ok", name, flush=True)
        return
    print(f"failed {name}: {len(outcomes)} of {CLIENTS} clients", flush=True)
    traceback.print_exception(outcomes[0])
