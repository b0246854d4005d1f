"""What the user asks for: one schema, several sources, every value with its origin."""
