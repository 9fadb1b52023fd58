"""EventDispatcher, which sends events from event loops."""
