"""Git as the loop's memory, and as the user's repository."""
