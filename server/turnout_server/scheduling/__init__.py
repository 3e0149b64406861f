"""Which request runs next. State machines with the clock handed in; no event loop, no threads."""
