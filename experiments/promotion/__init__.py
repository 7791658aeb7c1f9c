"""Promotion: a kept trial is measured and packed as a record, or brought into your own branches."""
