"""Teach a small LSTM to write, letter by letter, in the manner of the Zen of Python.

    python examples/char_lstm.py                 # the steps over time are one loop in the graph
    python examples/char_lstm.py --unrolled      # they are 32 copies: the same losses, a larger graph

The text comes with Python.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib
import io

import numpy as np

import graphc as gc

UNITS, LENGTH, BATCH = 96, 32, 16


def zen() -> str:
    """The text, which the module `this` holds in rot13."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints itself when it is imported
        module = importlib.import_module("this")
    return codecs.decode(module.s, "rot13")


LETTERS = sorted(set(zen()))


# First we define.


def weights() -> dict[str, gc.Variable]:
    """What is learnt: the kernels and biases of the LSTM, and the layer that scores the next letter."""
    size = len(LETTERS)
    forget_less = np.repeat(np.float32([0, 1, 0, 0]), UNITS)  # gates i, f, g, o
    return {
        "kernel": gc.Variable(gc.initializers.glorot_uniform((size, 4 * UNITS)), name="kernel"),
        "recurrent_kernel": gc.Variable(gc.initializers.orthogonal((UNITS, 4 * UNITS)), name="recurrent"),
        "bias": gc.Variable(forget_less, name="bias"),
        "out": gc.Variable(gc.initializers.glorot_uniform((UNITS, size)), name="out"),
        "out_bias": gc.Variable(gc.zeros((size,)), name="out_bias"),
    }


def unrolled_lstm(x: gc.Tensor, kernel: gc.Tensor, recurrent_kernel: gc.Tensor, bias: gc.Tensor) -> gc.Tensor:
    """What `gc.nn.lstm` gives, a copy of the cell for every step."""
    h = c = gc.zeros((gc.shape(x)[0], UNITS))
    outputs = []
    for step in range(LENGTH):
        i, f, g, o = gc.split(x[:, step] @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = gc.sigmoid(f) * c + gc.sigmoid(i) * gc.tanh(g)
        h = gc.sigmoid(o) * gc.tanh(c)
        outputs.append(h)
    return gc.stack(outputs, axis=1)


def writing(w: dict[str, gc.Variable], length: int, temperature: float = 0.5) -> gc.Tensor:
    """The numbers of `length` letters: each drawn from what the network expects, and then fed to it."""
    cell = w["kernel"], w["recurrent_kernel"], w["bias"]

    def step(carry: tuple[gc.Tensor, ...], _: gc.Tensor) -> tuple[tuple[gc.Tensor, ...], gc.Tensor]:
        letter, h, c = carry
        x = gc.one_hot(gc.reshape(letter, (1, 1)), len(LETTERS))
        outputs, (h, c) = gc.nn.lstm(x, *cell, initial_state=(h, c))
        scores = outputs[0, 0] @ w["out"] + w["out_bias"]
        letter = gc.random.categorical(scores / temperature, 1)[0]
        return (letter, h, c), letter

    start = gc.constant(LETTERS.index("\n"), "int64")
    _, letters = gc.scan(step, (start, gc.zeros((1, UNITS)), gc.zeros((1, UNITS))), gc.zeros((length,)))
    return letters


def build(unrolled: bool = False) -> dict[str, gc.Tensor]:
    """The loss of guessing the next letter, one step of Adam against it, and some writing."""
    letters = gc.placeholder("int64", shape=("batch", LENGTH + 1), name="letters")
    w = weights()
    x = gc.one_hot(letters[:, :-1], len(LETTERS))
    if unrolled:
        outputs = unrolled_lstm(x, w["kernel"], w["recurrent_kernel"], w["bias"])
    else:
        outputs, _ = gc.nn.lstm(x, w["kernel"], w["recurrent_kernel"], w["bias"])
    scores = outputs @ w["out"] + w["out_bias"]
    loss = gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=letters[:, 1:], logits=scores))
    return {"train": gc.train.Adam(5e-3).minimize(loss), "loss": loss, "text": writing(w, 200)}


# Then we run.


def batches(steps: int, seed: int) -> np.ndarray:
    """`steps` batches of pieces of the text, each one letter longer than the network reads."""
    text = np.array([LETTERS.index(letter) for letter in zen()], np.int64)
    starts = np.random.default_rng(seed).integers(0, len(text) - LENGTH, (steps, BATCH))
    return text[starts[..., None] + np.arange(LENGTH + 1)]


def feeds() -> dict[str, np.ndarray]:
    """A batch to measure it with."""
    return {"letters": batches(1, 0)[0]}


def main(arguments: list[str] | None = None) -> list[float]:
    """Train and write; the losses of all steps."""
    parser = argparse.ArgumentParser(description="A character LSTM.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unrolled", action="store_true", help="copies of the cell instead of a loop")
    options = parser.parse_args(arguments)

    losses = []
    with gc.Graph(seed=options.seed).as_default():
        fetches = build(options.unrolled)
        initialize = gc.global_variables_initializer()
        with gc.Session(seed=options.seed) as session:
            session.run(initialize)
            for step, letters in enumerate(batches(options.steps, options.seed)):
                _, loss = session.run([fetches["train"], fetches["loss"]], {"letters": letters})
                losses.append(float(loss))
                if step % 50 == 0 or step == options.steps - 1:
                    print(f"step {step:4}   loss {loss:.4f}")
            written = session.run(fetches["text"])
    print("".join(LETTERS[i] for i in written))
    return losses


if __name__ == "__main__":
    main()
