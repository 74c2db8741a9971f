"""A world to do wrong in, and what must hold after every wrong."""

import re
import zipfile

import numpy as np
import pytest

import graphc as gc


class World:
    """A graph with some of everything, and a session whose variables have values."""

    def __init__(self, path, graph, session):
        self.path, self.graph, self.session = path, graph, session
        self.x = gc.placeholder("float32", ("batch", 3), name="x")
        self.y = gc.placeholder("float32", ("batch",), name="y")
        self.n = gc.placeholder("int32", (4,), name="n")
        self.u = gc.placeholder("float32", (None, None), name="u")
        self.b = gc.placeholder("bool", (4,), name="b")
        self.s = gc.placeholder("float32", (), name="s")
        self.any = gc.placeholder("float32", name="any")
        self.images = gc.placeholder("float32", (1, 8, 8, 3), name="images")
        self.w = gc.Variable(np.ones((3, 2), "float32"), name="w")
        self.count = gc.Variable(7, name="count")
        with gc.Graph().as_default():
            self.stranger = gc.placeholder("float32", (3, 2), name="stranger")
            self.far = gc.Variable(1.0, name="far")
        session.run(gc.global_variables_initializer())
        self.feed = {self.x: np.ones((2, 3)), self.n: [1, 2, 3, 4]}

    def run(self, fetches, feed_dict=None):
        """Runs `fetches` after an assignment, which a failure must undo."""
        return self.session.run([self.count.assign_add(1), fetches], feed_dict)

    def leak(self):
        """A tensor of a branch, taken out of it."""
        inside = []
        gc.cond(self.s > 0, lambda: inside.append(self.s * 2.0) or inside[0], lambda: self.s)
        return inside[0]

    def closed(self):
        session = gc.Session(graph=self.graph)
        session.close()
        return session

    def saved(self, **values):
        """A checkpoint of another graph, with variables of these names."""
        with gc.Graph().as_default(), gc.Session() as session:
            for name, value in values.items():
                gc.Variable(value, name=name)
            session.run(gc.global_variables_initializer())
            session.save(self.path / "c.npz")
        return self.path / "c.npz"

    def damaged(self, damage):
        path = self.saved(w=np.zeros((3, 2), "float32"), count=np.int32(1))
        path.write_bytes(damage(path.read_bytes()))
        return path

    def foreign_zip(self):
        with zipfile.ZipFile(self.path / "f.npz", "w") as archive:
            archive.writestr("w.npy", b"no array")
        return self.path / "f.npz"


@pytest.fixture
def world(tmp_path):
    with gc.Graph(seed=0).as_default() as graph, gc.Session() as session:
        yield World(tmp_path, graph, session)


@pytest.fixture
def refused(world):
    """``refused(error, misuse, phrases, its_line)``: `misuse` fails with that text and changes nothing."""

    def check(error, misuse, phrases, its_line):
        names = world.graph.names()
        with pytest.raises(error) as caught:
            misuse(world)
        text = "\n".join((str(caught.value), *getattr(caught.value, "__notes__", ())))
        for phrase in phrases:
            assert phrase in text
        if its_line:  # the line and its text
            code = misuse.__code__
            assert f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}: lambda g:" in text, text
        places = re.findall(r"(?:\bat|\bin) ([\w/.]+\.py):\d+", text)
        assert all(place.startswith(("test_", "conftest")) for place in places), text
        # Nothing is half-applied: names, variables and the run count are as they were, and it all goes on.
        assert world.graph.names()[: len(names)] == names
        value, count = world.session.run([world.w, world.count])
        assert (value == 1).all()
        assert count == 7
        product = world.session.run(world.x @ world.w, world.feed)
        assert product.tolist() == [[3, 3], [3, 3]]

    return check
