"""How a version becomes something that runs, and runs."""
