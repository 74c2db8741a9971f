"""The viewer: a page that shows what the passes made of a graph, without a network, a server, or a tool."""

from runtime.viewer.page import page_of

__all__ = ["page_of"]
