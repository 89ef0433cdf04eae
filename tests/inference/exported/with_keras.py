"""Trains a network with Keras on TensorFlow and exports it to ONNX with what it gives.

Made `keras.onnx` and `saved.onnx` of this folder, with tensorflow 2.21, keras 3.15 and tf2onnx 1.17:

    python -m venv /tmp/keras && /tmp/keras/bin/pip install tensorflow-cpu tf2onnx
    /tmp/keras/bin/python tests/inference/exported/with_keras.py tests/inference/exported
    /tmp/keras/bin/python -m tf2onnx.convert --saved-model /tmp/saved --output tests/inference/exported/saved.onnx

The doc_string of `saved.onnx`, the folder it was made from, was taken out.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

folder = Path(sys.argv[1])
tf.keras.utils.set_random_seed(7)
given = np.round(np.random.default_rng(7).normal(size=(600, 4)), 1).astype(np.float32)
target = given[:, 0] * given[:, 1] + np.abs(given[:, 2])
layers = [tf.keras.layers.Dense(16, activation="tanh"), tf.keras.layers.Dense(1)]
model = tf.keras.Sequential([tf.keras.Input((4,)), *layers])
model.compile("adam", "mse")
model.fit(given, target, epochs=60, verbose=0)
model.export(folder / "keras.onnx", format="onnx", verbose=False)
model.export("/tmp/saved")
rows = [[round(value, 1) for value in row] for row in given[:40].tolist()]
gives = model(given[:40]).numpy()
for name in ("keras", "saved"):
    (folder / f"{name}.json").write_text(json.dumps({"rows": rows, "gives": gives.tolist()}) + "\n")
