"""What fusepy lacks and `eofs.libfuse` adds, as far as it shows without a mount."""

from __future__ import annotations

import ctypes
import threading
import weakref

import pytest

pytestmark = pytest.mark.mount

Function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class Kept:
    """Something that a thread keeps."""


@pytest.mark.parametrize("remembered", [True, False])
def test_what_a_foreign_thread_keeps_lasts_from_call_to_call_if_it_is_remembered_and_no_longer_than_it(
    remembered: bool,
) -> None:
    from eofs.libfuse import remember_thread  # noqa: PLC0415 - where there is no libfuse, this test is left out

    libc, here = ctypes.CDLL(None), threading.local()
    kept: list[weakref.ref[Kept]] = []
    found: list[bool] = []

    def first(_: int | None) -> None:
        if remembered:
            remember_thread()
            remember_thread()
        here.kept = Kept()
        kept.append(weakref.ref(here.kept))
        libc.__cxa_thread_atexit_impl(second_call, None, second_call)

    def second(_: int | None) -> None:
        found.append(hasattr(here, "kept"))

    first_call, second_call = Function(first), Function(second)
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, first_call, None) == 0
    assert libc.pthread_join(thread, None) == 0
    assert found == [remembered]
    assert [reference() for reference in kept] == [None]
