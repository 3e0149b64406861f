"""Records of what was served, on disk: written without ever holding up a request, and read as SQL."""
