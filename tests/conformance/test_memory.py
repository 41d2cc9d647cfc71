"""What is left of models that were trained and dropped: no more of ours than of plain Keras models.

TensorFlow never forgets a gradient that is registered while a graph is made, nor the graph around it:
Keras' optimizers register one in each training step. Ours are registered once for each shape.
"""

import gc
import weakref

import keras
import numpy as np
import pytest
from tensorflow.python.framework import ops as tf_ops

from keras_stn import SpatialTransformer
from keras_stn.sampler import plan

IMAGES = np.random.default_rng(0).random((4, 12, 10, 1), "float32")


def _plain():
    return keras.layers.Conv2D(1, 3, padding="same")


def _transformer():
    return SpatialTransformer("dense")


def _train_and_drop(front):
    layers = [keras.Input(IMAGES.shape[1:]), front(), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.zeros((4, 1)), verbose=0)
    model.predict(IMAGES, verbose=0)
    model(IMAGES)


def _registered():
    return set(tf_ops.gradient_registry.list())


def _growth(front):
    """Gradients that the second of two equal models registers."""
    _train_and_drop(front)
    before = _registered()
    _train_and_drop(front)
    return len(_registered() - before)


@pytest.mark.slow
def test_a_model_of_a_known_shape_registers_no_gradient_that_plain_keras_does_not():
    """Each that is registered keeps a graph for the life of the process."""
    assert _growth(_transformer) == _growth(_plain)


def test_caches_of_the_sampler_do_not_grow_with_models_of_one_shape():
    _train_and_drop(_transformer)
    before = [cache.cache_info().currsize for cache in plan.CACHES]
    _train_and_drop(_transformer)
    assert [cache.cache_info().currsize for cache in plan.CACHES] == before


@pytest.mark.parametrize("size", [(12, 10), (150, 140)])  # the second is compiled
def test_a_layer_that_is_dropped_is_gone(size):
    layer = SpatialTransformer()
    layer(np.zeros((2, *size, 1), "float32"))
    alive = weakref.ref(layer), weakref.ref(layer.warp), weakref.ref(layer.localization)
    del layer
    gc.collect()
    assert [part() for part in alive] == [None, None, None]
