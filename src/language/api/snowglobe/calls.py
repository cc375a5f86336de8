"""The way to the machines and to the driver."""

from __future__ import annotations

import _snowglobe

# The polling conditions that are being watched, outermost first.
watched = []


def call(target, operation, arguments):
    """Has a machine do something, or the driver where `target` is empty."""
    if not watched:
        return _snowglobe.call(target, operation, arguments, None, None)
    check_watched()
    pause = min(condition._interval for condition in watched)
    return _snowglobe.call(target, operation, arguments, max(pause, 0.1), check_watched)


def check_watched():
    for condition in tuple(watched):
        condition._demand()


def drive(operation, **arguments):
    return _snowglobe.call("", operation, arguments, None, None)


def go_outside():
    """Says that what follows has to do with more than the machines."""
    if _snowglobe.session["remembers"]:
        drive("go_outside")
