"""Assertions and breakpoints."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable

import _snowglobe

from .errors import RequestedAssertionFailed


class Assertions:
    """The assertions of unittest.TestCase, such as assertEqual and assertIn."""

    assertAlmostEqual: Callable[..., Any]
    """As unittest.TestCase.assertAlmostEqual."""
    assertCountEqual: Callable[..., Any]
    """As unittest.TestCase.assertCountEqual."""
    assertDictEqual: Callable[..., Any]
    """As unittest.TestCase.assertDictEqual."""
    assertEndsWith: Callable[..., Any]
    """As unittest.TestCase.assertEndsWith."""
    assertEqual: Callable[..., Any]
    """As unittest.TestCase.assertEqual."""
    assertFalse: Callable[..., Any]
    """As unittest.TestCase.assertFalse."""
    assertGreater: Callable[..., Any]
    """As unittest.TestCase.assertGreater."""
    assertGreaterEqual: Callable[..., Any]
    """As unittest.TestCase.assertGreaterEqual."""
    assertHasAttr: Callable[..., Any]
    """As unittest.TestCase.assertHasAttr."""
    assertIn: Callable[..., Any]
    """As unittest.TestCase.assertIn."""
    assertIs: Callable[..., Any]
    """As unittest.TestCase.assertIs."""
    assertIsInstance: Callable[..., Any]
    """As unittest.TestCase.assertIsInstance."""
    assertIsNone: Callable[..., Any]
    """As unittest.TestCase.assertIsNone."""
    assertIsNot: Callable[..., Any]
    """As unittest.TestCase.assertIsNot."""
    assertIsNotNone: Callable[..., Any]
    """As unittest.TestCase.assertIsNotNone."""
    assertIsSubclass: Callable[..., Any]
    """As unittest.TestCase.assertIsSubclass."""
    assertLess: Callable[..., Any]
    """As unittest.TestCase.assertLess."""
    assertLessEqual: Callable[..., Any]
    """As unittest.TestCase.assertLessEqual."""
    assertListEqual: Callable[..., Any]
    """As unittest.TestCase.assertListEqual."""
    assertLogs: Callable[..., Any]
    """As unittest.TestCase.assertLogs."""
    assertMultiLineEqual: Callable[..., Any]
    """As unittest.TestCase.assertMultiLineEqual."""
    assertNoLogs: Callable[..., Any]
    """As unittest.TestCase.assertNoLogs."""
    assertNotAlmostEqual: Callable[..., Any]
    """As unittest.TestCase.assertNotAlmostEqual."""
    assertNotEndsWith: Callable[..., Any]
    """As unittest.TestCase.assertNotEndsWith."""
    assertNotEqual: Callable[..., Any]
    """As unittest.TestCase.assertNotEqual."""
    assertNotHasAttr: Callable[..., Any]
    """As unittest.TestCase.assertNotHasAttr."""
    assertNotIn: Callable[..., Any]
    """As unittest.TestCase.assertNotIn."""
    assertNotIsInstance: Callable[..., Any]
    """As unittest.TestCase.assertNotIsInstance."""
    assertNotIsSubclass: Callable[..., Any]
    """As unittest.TestCase.assertNotIsSubclass."""
    assertNotRegex: Callable[..., Any]
    """As unittest.TestCase.assertNotRegex."""
    assertNotStartsWith: Callable[..., Any]
    """As unittest.TestCase.assertNotStartsWith."""
    assertRaises: Callable[..., Any]
    """As unittest.TestCase.assertRaises."""
    assertRaisesRegex: Callable[..., Any]
    """As unittest.TestCase.assertRaisesRegex."""
    assertRegex: Callable[..., Any]
    """As unittest.TestCase.assertRegex."""
    assertSequenceEqual: Callable[..., Any]
    """As unittest.TestCase.assertSequenceEqual."""
    assertSetEqual: Callable[..., Any]
    """As unittest.TestCase.assertSetEqual."""
    assertStartsWith: Callable[..., Any]
    """As unittest.TestCase.assertStartsWith."""
    assertTrue: Callable[..., Any]
    """As unittest.TestCase.assertTrue."""
    assertTupleEqual: Callable[..., Any]
    """As unittest.TestCase.assertTupleEqual."""
    assertWarns: Callable[..., Any]
    """As unittest.TestCase.assertWarns."""
    assertWarnsRegex: Callable[..., Any]
    """As unittest.TestCase.assertWarnsRegex."""
    fail: Callable[..., Any]
    """As unittest.TestCase.fail."""

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of this name of unittest.TestCase."""
        return getattr(_test_case(), name)


@functools.cache
def _test_case():
    # The import takes longer than the whole test API, and few scripts need it.
    import unittest

    case = unittest.TestCase()
    case.maxDiff = None
    case.failureException = RequestedAssertionFailed
    return case


class Debug:
    """The breakpoints of nixpkgs' driver."""

    def breakpoint(self, *args: object, **kwargs: object) -> None:
        """Open a prompt with the names of this line; Ctrl-D continues the script. Without a terminal, the script
        waits until `snowglobe attach` opens the prompt. The same as Python's breakpoint().
        """
        frame = sys._getframe(1)
        stop_at(frame, frame.f_lineno)


def stop_at(frame: Any, line: int) -> None:
    """Opens a prompt among the names of a frame."""
    code = frame.f_code
    is_module = code.co_name == "<module>"
    names = frame.f_globals if is_module else dict(frame.f_locals)
    _snowglobe.stop_at(names, frame.f_globals, code.co_filename, line)


def _breakpoint(*args: object, **kwargs: object) -> None:
    frame = sys._getframe(1)
    stop_at(frame, frame.f_lineno)


def prepare() -> None:
    """Has Python's breakpoint() open a prompt."""
    vars(sys)["breakpointhook"] = _breakpoint


t: Assertions = Assertions()
debug: Debug = Debug()
