"""The table of `cases` has a kernel of a user's; it is known as long as these tests run."""

import pytest
import users_kernel

from keras_stn.sampler import KERNELS


@pytest.fixture(autouse=True, scope="package")
def _users_kernel():
    KERNELS[users_kernel.NAME] = users_kernel.KERNEL
    yield
    del KERNELS[users_kernel.NAME]
