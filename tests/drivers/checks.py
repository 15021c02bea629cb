"""What the Python programs share: named checks, run in order, each told as `ok NAME` or as its failure.

A program connects by libpq's own environment variables. Reads go to a replica unless they are part of a
transaction or say otherwise, and a replica may not yet have what was just written: hence PRIMARY.
"""

import os
import sys
import traceback

PRIMARY = "/* pgweir: role=primary */ "
CLIENTS = 20
SLEEPS = PRIMARY + "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like '%{}%'"

CHECKS = []


def check(function):
    """Adds a check, named as its function is."""
    CHECKS.append(function)
    return function


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {found!r:.300}, expected {expected!r:.300}")


def raises(kind, action):
    """The error of that kind that `action` raises."""
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def tell(function, outcome):
    name = function.__name__
    if outcome is None:
        print("ok", name, flush=True)
    else:
        print("failed", name, flush=True)
        traceback.print_exception(outcome)


def run(*arguments):
    """Runs all checks; each begins with a fresh connection of its own making."""
    failed = False
    for function in CHECKS:
        outcome = None
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001: the next check is run all the same
            outcome, failed = error, True
        tell(function, outcome)
    sys.exit(1 if failed else 0)


def environment(name):
    return os.environ[name]
