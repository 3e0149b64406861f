"""What units did after they were served: outcomes, taken for good, and their files."""
