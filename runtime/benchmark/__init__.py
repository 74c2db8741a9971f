"""What `graphc bench` runs: families of graphs, what compiling them costs, and what it costs others."""
