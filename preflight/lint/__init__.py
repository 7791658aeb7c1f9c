"""Static rules on the names that base/ may use."""
