"""Teach a small network to read handwritten digits; save what it learnt, and find it again in the file.

    python examples/digits.py                       # a convolutional net, about 99 % on unseen digits
    python examples/digits.py --model mlp --epochs 30

The data are the 1,797 images of 8 x 8 pixels that scikit-learn brings along.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import graphc as gc

Images = np.ndarray
Labels = np.ndarray

BATCH = 32


# First we define. Nothing is computed here: each line adds nodes to a graph.


def dense(x: gc.Tensor, width: int, name: str) -> gc.Tensor:
    """``x @ w + b`` with new weights."""
    with gc.name_scope(name):
        w = gc.Variable(gc.initializers.he_normal((x.shape[1], width)), name="w")
        b = gc.Variable(gc.zeros((width,)), name="b")
        return x @ w + b


def conv(x: gc.Tensor, channels: int, name: str) -> gc.Tensor:
    """A 3 x 3 convolution with new filters, and its nonlinearity."""
    with gc.name_scope(name):
        w = gc.Variable(gc.initializers.he_normal((3, 3, x.shape[3], channels)), name="w")
        b = gc.Variable(gc.zeros((channels,)), name="b")
        return gc.nn.relu(gc.nn.conv2d(x, w) + b)


def conv_net(images: gc.Tensor) -> gc.Tensor:
    """8 x 8 pixels, 32 and then 64 channels, the strongest of every 2 x 2 cells, ten scores."""
    h = conv(gc.expand_dims(images, -1), 32, "conv1")
    h = conv(h, 64, "conv2")
    with gc.name_scope("pool"):  # names are for people: pictures show scopes as boxes
        h = gc.reshape(gc.nn.max_pool(h, 2), (-1, 4 * 4 * 64))
    return dense(h, 10, "scores")


def mlp(images: gc.Tensor) -> gc.Tensor:
    """64 pixels, 512 hidden units, ten scores."""
    h = gc.nn.relu(dense(gc.reshape(images, (-1, 64)), 512, "hidden"))
    return dense(h, 10, "scores")


MODELS = {"conv": conv_net, "mlp": mlp}


def build(model: str = "conv") -> dict[str, gc.Tensor]:
    """The whole graph: ten scores per image, their loss, and one step of Adam against it."""
    images = gc.placeholder("float32", shape=("batch", 8, 8), name="images")
    labels = gc.placeholder("int64", shape=("batch",), name="labels")
    scores = MODELS[model](images)
    with gc.name_scope("loss"):
        loss = gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=scores))
    with gc.name_scope("accuracy"):
        accuracy = gc.mean(gc.cast(gc.equal(gc.argmax(scores, axis=1), labels), "float32"))
    return {"train": gc.train.Adam(2e-3).minimize(loss), "loss": loss, "accuracy": accuracy}


# Then we run.


def digits(seed: int) -> tuple[Images, Images, Labels, Labels]:
    """Images to learn from, images to be tested on, and the labels of both."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)  # the pixels count from 0 to 16
    return train_test_split(
        images, data.target.astype(np.int64), test_size=0.2, random_state=seed, stratify=data.target
    )


def batches(images: Images, labels: Labels, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """All of it once, in a new order; the last batch is what remains, so it is smaller."""
    order = rng.permutation(len(images))
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        yield {"images": images[some], "labels": labels[some]}


def feeds() -> dict[str, np.ndarray]:
    """A batch to measure it with: ``python -m graphc dump examples/digits.py -o digits.html``."""
    images, _, labels, _ = digits(0)
    return {"images": images[:BATCH], "labels": labels[:BATCH]}


def main(arguments: list[str] | None = None) -> float:
    """Train, test, save, restore, test again; the accuracy on the test images."""
    options = parse(arguments)
    train_x, test_x, train_y, test_y = digits(options.seed)
    test = {"images": test_x, "labels": test_y}
    rng = np.random.default_rng(options.seed)

    with gc.Graph(seed=options.seed).as_default():
        fetches = build(options.model)
        initialize = gc.global_variables_initializer()

        with gc.Session() as session:
            session.run(initialize)
            accuracy = 0.0
            for epoch in range(1, options.epochs + 1):
                losses = []
                with tqdm(total=len(train_x), desc=f"epoch {epoch:2}", unit="image", leave=False) as bar:
                    for batch in batches(train_x, train_y, rng):
                        _, loss = session.run([fetches["train"], fetches["loss"]], batch)
                        losses.append(loss)
                        bar.update(len(batch["labels"]))
                accuracy = float(session.run(fetches["accuracy"], test))
                print(f"epoch {epoch:2}   loss {np.mean(losses):.4f}   test accuracy {accuracy:.2%}")
            session.save(options.checkpoint)

        with gc.Session() as another:
            another.restore(options.checkpoint)
            restored = float(another.run(fetches["accuracy"], test))
    print(f"restored from {options.checkpoint}: test accuracy {restored:.2%}")
    if restored != accuracy:
        raise SystemExit(f"the restored network should be as good as the saved one: {accuracy:.2%}")
    return restored


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="conv")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("digits.ckpt.npz"),
        help="where to save what was learnt (.npz, or .safetensors)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
