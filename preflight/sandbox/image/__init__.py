"""The image: the files that every job runs on, copied into memory."""
