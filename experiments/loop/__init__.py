"""The loop itself: propose, try, repeat until asked to stop."""
