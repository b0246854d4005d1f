"""What inspection costs."""
