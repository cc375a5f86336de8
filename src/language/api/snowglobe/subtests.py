"""Subtests."""

from __future__ import annotations

import contextlib
from typing import Iterator

import _snowglobe

from .calls import drive
from .checkpoints import Checkpoint, rewind_to


@contextlib.contextmanager
def subtest(name: str, *, checkpoint: Checkpoint | str | None = None) -> Iterator[None]:
    """Group the statements inside under a name. If they raise, the subtest and the test fail. With --only, a
    subtest that is not selected is skipped. With a checkpoint, all machines begin as they were there: the subtests
    before leave no traces.
    """
    runs = drive("subtest_started", name=str(name))
    try:
        if runs and checkpoint is not None:
            rewind_to(checkpoint)
        yield runs
    except Exception as error:
        goes_on = drive("subtest_finished", failure=_snowglobe.describe(error), final=False)
        if not goes_on:
            raise
    except BaseException as error:
        ends_well = isinstance(error, SystemExit) and not error.code
        failure = None if ends_well else _snowglobe.describe(error)
        drive("subtest_finished", failure=failure, final=True)
        raise
    else:
        drive("subtest_finished", failure=None, final=False)
