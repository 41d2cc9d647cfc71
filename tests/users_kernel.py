"""A kernel that the package does not have, in a few lines; the common tables of tests run it too."""

from keras_stn.sampler.kernels import Kernel


def _weights(t):
    """Catmull and Rom (1974): Keys' cubic with a = -0.5."""
    before = ((-0.5 * t + 1) * t - 0.5) * t
    here = (1.5 * t - 2.5) * t * t + 1
    after = ((-1.5 * t + 2) * t + 0.5) * t
    return before, here, after, (0.5 * t - 0.5) * t * t


def _slopes(t):
    before, here = (-1.5 * t + 2) * t - 0.5, (4.5 * t - 5) * t
    return before, here, (-4.5 * t + 4) * t + 0.5, (1.5 * t - 1) * t


NAME = "catmull_rom"
KERNEL = Kernel((-1, 0, 1, 2), _weights, _slopes)
