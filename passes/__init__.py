"""BETTER: passes that rewrite functions, and the program they end in."""
