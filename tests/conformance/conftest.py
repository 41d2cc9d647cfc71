"""The table of `cases` has a kernel of a user's; it is known while one of these tests runs."""

import pytest
import users_kernel

from keras_stn.sampler import KERNELS


@pytest.fixture(autouse=True)
def _users_kernel(monkeypatch):
    monkeypatch.setitem(KERNELS, users_kernel.NAME, users_kernel.KERNEL)
