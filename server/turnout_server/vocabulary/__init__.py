"""The values that every layer speaks of. Their constructors refuse what is out of bounds; nothing here does I/O."""
