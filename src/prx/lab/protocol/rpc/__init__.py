"""Cap'n Proto RPC on the control stream: framing, endpoint, registration, pushed configuration."""
