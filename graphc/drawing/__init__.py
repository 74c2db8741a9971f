"""Drawing: graphs as pictures that need no tool to be looked at."""
