"""Protected quick tunnels: who may pass, and how the connector finds out."""
