"""How the engine is built: what is decided, what is looked at, and what is shown meanwhile."""
