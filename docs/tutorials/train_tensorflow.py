"""Tell three sorts of wine apart, by a network: python docs/tutorials/train_tensorflow.py OUT.onnx [WIDTH]"""

# needs: tensorflow tf2onnx sklearn

import sys

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from sklearn.datasets import load_wine

out, width = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8
keras.utils.set_random_seed(7)

x, y = load_wine(return_X_y=True)
order = np.random.default_rng(7).permutation(len(x))
x, y = x[order].astype(np.float32), y[order]
x_train, x_test, y_train, y_test = x[:130], x[130:], y[:130], y[130:]

# What scales the features is a part of the model, so that callers send them as they are. Of keras.layers.Normalization,
# tf2onnx makes inputs of the mean and the variance; constants stay constants.
mean, deviation = x_train.mean(0), x_train.std(0)
scale = keras.layers.Rescaling(1 / deviation, -mean / deviation)
layers = [keras.Input((x.shape[1],), name="features"), scale, keras.layers.Dense(width, "relu")]
model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax", name="probabilities")])
model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
model.fit(x_train, y_train, epochs=100, verbose=0)
right = int((model.predict(x_test, verbose=0).argmax(1) == y_test).sum())
print(f"{right} of {len(x_test)} wines that were held out are right")

# An axis of size None may have any size. A function with a signature is what tf2onnx takes of any Keras.
function = tf.function(lambda features: {"probabilities": model(features)}, autograph=False)
signature = [tf.TensorSpec((None, x.shape[1]), tf.float32, name="features")]
tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=out)
