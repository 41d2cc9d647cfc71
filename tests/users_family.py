"""A family that the package does not have, in a few lines; the common tables of tests run it too."""

import keras

from keras_stn import transforms


@keras.saving.register_keras_serializable(package="conformance")
class Bulge(transforms.Transform):
    """A family that is no matrix, and holds an argument."""

    num_params = 1
    identity_params = (0.0,)

    def __init__(self, power=2):
        self.power = power

    def map(self, params, x, y):
        k = keras.ops.expand_dims(params, -1)
        # Not x**2: TensorFlow's power is a rounding away from the product that graphs make of it.
        if self.power == 2:
            scale = 1 + k * x * x + k * y * y
        else:
            scale = 1 + k * (x * x + y * y) ** (self.power / 2)
        return x * scale, y * scale

    def get_config(self):
        return {"power": self.power}
