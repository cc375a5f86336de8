"""Functions side by side."""

from __future__ import annotations

import threading
from typing import Any, Callable

import _snowglobe

from .extensions import extension


@extension
def parallel(*functions: Callable[[], Any]) -> list[Any]:
    """Call functions side by side and return their results in order. The first exception cancels what the other
    functions wait for, and is raised.
    """
    scope = _snowglobe.begin_scope()
    inside = [*_snowglobe.scopes(), scope]
    results = [None] * len(functions)
    failures = []

    def work(position, function):
        _snowglobe.enter_scopes(inside)
        try:
            results[position] = function()
        except BaseException as error:
            failures.append(error)
            _snowglobe.cancel_scope(scope)

    threads = [
        threading.Thread(target=work, args=item, name=f"parallel {item[0]}", daemon=True)
        for item in enumerate(functions)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        _snowglobe.cancel_scope(scope)
        raise
    finally:
        _snowglobe.end_scope(scope)
    if failures:
        raise failures[0]
    return results
