"""Events and errors as words: lines, the panel, prompts, and writers that never block the event loop."""
