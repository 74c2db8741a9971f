"""Display: the methods by which a notebook asks an object for its picture."""

from __future__ import annotations


class Displayed:
    """What a notebook shows as a picture, or as a table of its nodes where it is large."""

    __slots__ = ()

    def _displayed(self) -> object:
        """What is drawn: fetches, or a Function."""
        return self

    def _repr_svg_(self) -> str | None:
        from graphc.drawing.notebook import picture_of  # only notebooks ask

        return picture_of(self._displayed())

    def _repr_html_(self) -> str:
        from graphc.drawing.notebook import page_part_of  # only notebooks ask

        return page_part_of(self._displayed())
