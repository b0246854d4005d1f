"""The connector's answers about itself, to those whom the edge lets through to its management host."""
